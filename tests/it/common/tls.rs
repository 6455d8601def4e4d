//! A certificate authority, the certificates that it signs, and brokers that use them.

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

/// Writes `NAME.pem` and `NAME.key` (PKCS#8), signed by `authority`; `host` is its name, the common
/// one too.
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

/// A world whose broker also listens with TLS, and wants certificates of this authority; the
/// listener's port.
pub async fn with_mutual_tls(more: &str, environment: Vec<(&'static str, String)>) -> (World, Authority, u16) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let authority = authority("site");
    fs::write(at("ca.pem"), authority.pem()).unwrap();
    issue(dir.path(), "broker", "localhost", &authority);
    let mut broker = Broker::absent(dir.path());
    let port = broker.another_port();
    broker.environment = environment;
    broker.more = format!(
        "{more}\nlistener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\n",
        at("ca.pem"),
        at("broker.pem"),
        at("broker.key"),
    );
    broker.restart().await;
    let mut world = World::with(dir, broker, 10).await;
    set_tls(&mut world, &authority, port);
    (world, authority, port)
}

/// Points an agent at a broker with TLS, by files in the world's directory.
pub fn set_tls(world: &mut World, authority: &Authority, port: u16) {
    issue(world.dir.path(), "agent", "MyCore-offboard", authority);
    world.set("mqtt.url", json!(format!("mqtts://localhost:{port}")));
    for (key, name) in [("caFile", "ca.pem"), ("certFile", "agent.pem"), ("keyFile", "agent.key")] {
        let path = world.dir.path().join(name);
        world.set(&format!("mqtt.{key}"), json!(path));
    }
}

/// An example of docs/ for Mosquitto with this machine's own paths in it; `dir` holds the
/// certificates.
pub fn mosquitto_example(name: &str, dir: &Path) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let dir = format!("{}/", dir.display());
    fs::read_to_string(examples.join(name))
        .unwrap()
        .replace("/etc/mosquitto/certs/", &dir)
        .replace("/var/lib/mosquitto/", &dir)
        .replace("/etc/mosquitto/offboard.acl", &examples.join("mosquitto.acl").display().to_string())
}

/// The documented Mosquitto, not started yet. Its certificate and its authority are in `dir`.
pub fn documented_broker(dir: &Path, authority: &Authority) -> Broker {
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    issue(dir, "broker", "localhost", authority);
    let mut broker = Broker::absent(dir);
    let config = mosquitto_example("mosquitto.conf", dir);
    let listener = format!("listener {} 127.0.0.1\n", broker.port);
    assert_eq!(config.matches("listener 8883\n").count(), 1, "{config}");
    broker.config = Some(config.replace("listener 8883\n", &listener) + "user root\n");
    broker
}

/// A world with the documented Mosquitto, and an agent that is configured for it.
pub async fn documented_world() -> (World, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority("site");
    let mut broker = documented_broker(dir.path(), &authority);
    broker.restart().await;
    let port = broker.port;
    let mut world = World::with(dir, broker, 100).await;
    set_tls(&mut world, &authority, port);
    (world, authority)
}
