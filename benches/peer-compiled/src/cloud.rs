//! The calls to AWS IoT Greengrass V2, and the two threads that make them.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use ureq::{AsSendBody, http::Request};

use crate::ledger::Job;
use crate::{BATCH, Config, Result};

pub struct Cloud {
    config: &'static Config,
    agent: ureq::Agent,
    credentials: Mutex<Option<(Credentials, Timestamp)>>,
    bucket: Mutex<(f64, Instant)>,
}

impl Cloud {
    pub fn new(config: &'static Config) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30)));
        Self {
            config,
            agent: agent.build().into(),
            credentials: Mutex::default(),
            bucket: Mutex::new((config.burst, Instant::now())),
        }
    }

    /// Disassociates a batch, and returns the error entries of the call.
    fn disassociate(&self, batch: &[String]) -> Result<HashMap<String, Value>> {
        let entries: Vec<Value> = batch.iter().map(|name| json!({"thingName": name})).collect();
        let body = json!({"entries": entries}).to_string();
        let request =
            Request::post(self.address("disassociateClientDevices")).header("content-type", "application/json");
        let mut answer = self.call(request.body(body.as_bytes())?, body.as_bytes())?;
        let errors = serde_json::from_value(answer["errorEntries"].take()).unwrap_or_default();
        let named = |error: Value| Some((error["thingName"].as_str()?.to_owned(), error));
        Ok(Vec::into_iter(errors).filter_map(named).collect())
    }

    /// Reads a page of the list, starting at a token.
    fn list(&self, next: Option<String>) -> Result<Value> {
        let next = next.map(|token| format!("&nextToken={}", escaped(&token))).unwrap_or_default();
        let address = self.address("associatedClientDevices?maxResults=100") + &next;
        self.call(Request::get(address).body(())?, b"")
    }

    fn address(&self, end: &str) -> String {
        let Config { core, endpoint, .. } = self.config;
        format!("{endpoint}/greengrass/v2/coreDevices/{}/{end}", escaped(core))
    }

    /// Signs a request, sends it, and returns the response.
    fn call<B: AsSendBody>(&self, mut request: Request<B>, body: &[u8]) -> Result<Value> {
        self.wait_for_rate();
        let identity = self.credentials()?.into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name("greengrass")
            .time(SystemTime::try_from(Timestamp::now())?)
            .settings(SigningSettings::default())
            .build()?
            .into();
        let (method, address) = (request.method().to_string(), request.uri().to_string());
        let signable = SignableRequest::new(&method, &address, std::iter::empty(), SignableBody::Bytes(body))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(serde_json::from_slice(&self.agent.run(request)?.body_mut().read_to_vec()?)?)
    }

    /// The credentials of the token exchange service, until five minutes before they expire.
    fn credentials(&self) -> Result<Credentials> {
        let mut kept = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = Timestamp::now() + SignedDuration::from_mins(5);
        if let Some((credentials, _)) = kept.as_ref().filter(|(_, expiration)| *expiration > soon) {
            return Ok(credentials.clone());
        }
        let address = std::env::var("AWS_CONTAINER_CREDENTIALS_FULL_URI")?;
        let token = std::env::var("AWS_CONTAINER_AUTHORIZATION_TOKEN")?;
        let request = Request::get(address).header("authorization", token).body(())?;
        let given: Value = serde_json::from_slice(&self.agent.run(request)?.body_mut().read_to_vec()?)?;
        let member = |name: &str| given[name].as_str().ok_or("not credentials");
        let (key, secret) = (member("AccessKeyId")?, member("SecretAccessKey")?);
        let credentials = Credentials::new(key, secret, Some(member("Token")?.to_owned()), None, "exchange");
        *kept = Some((credentials.clone(), member("Expiration")?.parse()?));
        Ok(credentials)
    }

    /// Waits for a token of the bucket, which both threads share.
    fn wait_for_rate(&self) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let filled = bucket.0 + (now - bucket.1).as_secs_f64() * self.config.rate;
        *bucket = (filled.min(self.config.burst) - 1.0, now);
        if bucket.0 < 0.0 {
            sleep(Duration::from_secs_f64(-bucket.0 / self.config.rate));
        }
    }
}

/// Sends the open entries in batches, each time the thread is woken.
pub fn dispatch(cloud: &Cloud, ledger: &SyncSender<Job>, work: &Receiver<()>) -> Result<()> {
    let next_batch = || -> Result<Vec<String>> {
        let (reply, batch) = sync_channel(1);
        ledger.send(Job::NextBatch(reply))?;
        Ok(batch.recv()?)
    };
    loop {
        work.recv()?;
        let mut failed = 0;
        loop {
            let mut batch = next_batch()?;
            if batch.is_empty() {
                break;
            }
            if batch.len() < BATCH && failed == 0 {
                sleep(Duration::from_secs_f64(cloud.config.linger));
                batch = next_batch()?;
            }
            match cloud.disassociate(&batch) {
                Ok(errors) => {
                    failed = 0;
                    // The next batch is requested at once: the ledger handles both jobs in this
                    // order.
                    ledger.send(Job::Settle(batch, errors))?;
                }
                Err(error) => back_off(&mut failed, &error.to_string()),
            }
        }
    }
}

/// Reads the cloud's list at the start and each hour, and updates the registry.
pub fn reconcile(cloud: &Cloud, ledger: &SyncSender<Job>) -> Result<()> {
    let mut failed = 0;
    loop {
        match read_list(cloud, ledger) {
            Ok(()) => {
                failed = 0;
                sleep(Duration::from_secs(3600));
            }
            Err(error) => back_off(&mut failed, &error.to_string()),
        }
    }
}

fn read_list(cloud: &Cloud, ledger: &SyncSender<Job>) -> Result<()> {
    let (mut seen, mut next, began) = (HashSet::new(), None, Timestamp::now());
    loop {
        let page = cloud.list(next)?;
        let device =
            |device: &Value| Some((device["thingName"].as_str()?.to_owned(), device["associationTimestamp"].as_f64()?));
        let devices = page["associatedClientDevices"].as_array().ok_or("not a page of the list")?;
        let devices: Vec<(String, f64)> = devices.iter().filter_map(device).collect();
        seen.extend(devices.iter().map(|(name, _)| name.clone()));
        ledger.send(Job::Page(devices))?;
        next = page["nextToken"].as_str().map(str::to_owned);
        if next.is_none() {
            return Ok(ledger.send(Job::ListRead(seen, began))?);
        }
    }
}

/// Sleeps for a random time whose maximum doubles with each failure, up to five minutes.
fn back_off(failed: &mut i32, error: &str) {
    eprintln!("cloud: {error}");
    *failed += 1;
    let share = f64::from(Timestamp::now().subsec_nanosecond() % 1_000_000) / 1e6;
    sleep(Duration::from_secs_f64(share * 2_f64.powi(*failed).min(300.0)));
}

/// Percent-encoding for a path or a query: all characters but the unreserved ones of RFC 3986.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
