//! The signature compared with other implementations: AWS's own example, and botocore's signatures
//! for this API.

#![allow(clippy::unwrap_used)]

use hyper::header::{HeaderName, HeaderValue};

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// The example of the AWS documentation, "Create a signed AWS API request": GET of IAM's ListUsers.
#[test]
fn the_example_of_the_aws_documentation() {
    let headers = headers(&[
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ]);
    let query = "Action=ListUsers&Version=2010-05-08";
    let request = Signable { method: "GET", path: "/", query, headers: &headers, body: b"" };
    let canonical = canonical_request(request, &["content-type", "host", "x-amz-date"]);
    assert_eq!(hex(&Sha256::digest(&canonical)), "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59");
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let scope = ["20150830", "us-east-1", "iam"];
    assert_eq!(
        signature(secret, "20150830T123600Z", scope, &canonical),
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    );
}

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "SANDBOXEXAMPLE".to_owned(),
        secret_access_key: "not/a+real=secret".to_owned(),
        session_token: "not-a-real-token".to_owned(),
        authorization_token: String::new(),
    }
}

struct Example {
    method: &'static str,
    path: &'static str,
    query: &'static str,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Example {
    /// Created with botocore, at 2026-01-02T03:04:05Z:
    ///
    /// ```python
    /// credentials = Credentials("SANDBOXEXAMPLE", "not/a+real=secret", "not-a-real-token")
    /// request = AWSRequest("GET", "http://127.0.0.1:8080/greengrass/v2/coreDevices/My%3ACore%20%C3%BC"
    ///     "/associatedClientDevices?nextToken=b%2Fa%20%2B%3D&maxResults=7", headers={"X-Amz-Meta": " a   b "})
    /// SigV4Auth(credentials, "greengrass", "eu-central-1").add_auth(request)
    /// ```
    fn list() -> Self {
        Self {
            method: "GET",
            path: "/greengrass/v2/coreDevices/My%3ACore%20%C3%BC/associatedClientDevices",
            query: "nextToken=b%2Fa%20%2B%3D&maxResults=7",
            headers: headers(&[
                ("host", "127.0.0.1:8080"),
                ("x-amz-date", "20260102T030405Z"),
                ("x-amz-security-token", "not-a-real-token"),
                ("x-amz-meta", " a   b "),
                ("authorization", LIST),
            ]),
            body: b"",
        }
    }

    /// Created in the same way, with `"POST"`, `…/core/disassociateClientDevices`, no header and
    /// the body as `data`.
    fn disassociate() -> Self {
        Self {
            method: "POST",
            path: "/greengrass/v2/coreDevices/core/disassociateClientDevices",
            query: "",
            headers: headers(&[
                ("host", "127.0.0.1:8080"),
                ("x-amz-date", "20260102T030405Z"),
                ("x-amz-security-token", "not-a-real-token"),
                ("authorization", DISASSOCIATE),
            ]),
            body: br#"{"entries": [{"thingName": "dev:1"}]}"#,
        }
    }

    fn verify(&self, now: u64) -> Result<(), String> {
        let Self { method, path, query, headers, body } = self;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        verify(Signable { method, path, query, headers, body }, &credentials(), "greengrass", now)
            .map_err(|error| error.code().to_owned())
    }

    fn refused(&self, code: &str) {
        assert_eq!(self.verify(SIGNED_AT), Err(code.to_owned()));
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }
}

/// 2026-01-02T03:04:05Z.
const SIGNED_AT: u64 = 1_767_323_045;

const LIST: &str = "AWS4-HMAC-SHA256 Credential=SANDBOXEXAMPLE/20260102/eu-central-1/greengrass/aws4_request, \
    SignedHeaders=host;x-amz-date;x-amz-meta;x-amz-security-token, \
    Signature=84200f562cc1578a66b55db42b8a0501d87a2f85f257b44a61e171242d4d3524";

const DISASSOCIATE: &str = "AWS4-HMAC-SHA256 Credential=SANDBOXEXAMPLE/20260102/eu-central-1/greengrass/aws4_request, \
    SignedHeaders=host;x-amz-date;x-amz-security-token, \
    Signature=b331ac3d7f5bb67330cdcb3da41c034b87746bc55dbc752f16875273c4454f08";

#[test]
fn what_botocore_signs_is_accepted() {
    assert_eq!(Example::list().verify(SIGNED_AT), Ok(()));
    assert_eq!(Example::disassociate().verify(SIGNED_AT), Ok(()));
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let code = "InvalidSignatureException";
    Example { body: b"{}", ..Example::disassociate() }.refused(code);
    Example { method: "PUT", ..Example::disassociate() }.refused(code);
    Example { query: "nextToken=b&maxResults=7", ..Example::list() }.refused(code);
    Example { path: "/greengrass/v2/coreDevices/My:Core/associatedClientDevices", ..Example::list() }.refused(code);
    Example::list().with("host", "127.0.0.1:8081").refused(code);
    Example::list().with("authorization", &LIST.replace("/greengrass/", "/iotsitewise/")).refused(code);
    Example::list().with("authorization", &LIST.replace("host;", "")).refused(code);
}

#[test]
fn who_is_not_known_is_refused() {
    Example::list().with("authorization", "Bearer token").refused("IncompleteSignature");
    Example::list().with("authorization", &LIST.replace("EXAMPLE", "OTHER")).refused("UnrecognizedClientException");
    Example::list().with("x-amz-security-token", "another").refused("UnrecognizedClientException");
    let mut unsigned = Example::list();
    unsigned.headers.remove("authorization");
    unsigned.refused("MissingAuthenticationTokenException");
}

#[test]
fn a_signature_is_good_for_five_minutes_either_way() {
    let refused = Err("InvalidSignatureException".to_owned());
    assert_eq!(Example::list().verify(SIGNED_AT + 300), Ok(()));
    assert_eq!(Example::list().verify(SIGNED_AT - 300), Ok(()));
    assert_eq!(Example::list().verify(SIGNED_AT + 301), refused);
    assert_eq!(Example::list().verify(SIGNED_AT - 301), refused);
    assert_eq!(Example::list().with("x-amz-date", "20260102T0304Z").verify(SIGNED_AT), refused);
}

#[test]
fn what_this_signs_is_what_this_accepts() {
    let mut example = Example::list();
    example.headers.remove("authorization");
    let Example { method, path, query, headers, body } = &example;
    let date = amz_date(SystemTime::UNIX_EPOCH + Duration::from_secs(SIGNED_AT));
    let authorization =
        sign(Signable { method, path, query, headers, body }, &credentials(), &date, ["eu-central-1", "greengrass"]);
    assert_eq!(authorization, LIST);
}
