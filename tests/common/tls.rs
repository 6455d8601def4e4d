//! An authority of our own, and what it signs.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;

pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes `NAME.pem` and `NAME.key` (PKCS#8), signed by `authority`; `host` is its name, the common one too.
pub fn issue(dir: &Path, name: &str, host: &str, authority: &Authority) {
    issue_for(dir, name, host, authority, &KeyPair::generate().unwrap());
}

/// The same for a key that there is already.
pub fn issue_for(dir: &Path, name: &str, host: &str, authority: &Authority, key: &KeyPair) {
    let mut params = CertificateParams::new(vec![host.into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, host);
    let certificate = params.signed_by(key, authority).unwrap();
    fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}
