//! Before and after the load: the znodes it needs, what it left behind, and whether it is true.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use jute::codec::{Decode, Encode};
use jute::request::{DeleteRequest, PathRequest, SetDataRequest};
use jute::response::GetDataResponse;
use jute::{ErrorCode, OpCode};
use serde::Serialize;

use crate::ledger::{KeyWrite, Ledger};
use crate::namespace::{ROOT, created_path, directories, key_path};
use crate::plain_client::{Answer, PlainClient, error_name};
use crate::requests::{Requests, create, read};
use crate::workload::{PathShape, Workload};

/// Session timeout asked for here, in ms.
const TIMEOUT_MS: i32 = 30_000;

/// At most this many acknowledged writes of a kind are read back from each server.
const SAMPLE: usize = 2_000;

/// At most this many wrong values are told in words.
const TOLD: usize = 5;

/// What reading back has shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    /// Acknowledged writes that were read back, counted once for every server asked.
    pub checked: u64,
    /// Those that were not there as acknowledged.
    pub wrong: u64,
    /// The first of the wrong ones, in words.
    pub examples: Vec<String>,
}

impl Verification {
    fn check(&mut self, path: &str, complaint: Option<String>) {
        self.checked += 1;
        if let Some(complaint) = complaint {
            self.wrong += 1;
            if self.examples.len() < TOLD {
                self.examples.push(format!("{path}: {complaint}"));
            }
        }
    }
}

/// Makes all keys exist with a value of the workload's size.
pub fn make_keys(address: SocketAddr, workload: &Workload, requests: &Requests) -> Result<()> {
    let mut client = PlainClient::connect(address, TIMEOUT_MS)?;
    for path in directories(workload.paths, workload.keys) {
        let answer = client.call(OpCode::Create, &create(&path, None))?;
        unless(ErrorCode::NodeExists, answer, "create", &path)?;
    }
    let value = requests.stamped_value(0);
    let path = |key: u32| key_path(workload.paths, key);
    let creates = (0..workload.keys).map(|key| create(&path(key), Some(&value)).to_bytes());
    let mut old = Vec::new();
    client.call_all(OpCode::Create, creates, |index, answer| {
        let key = u32::try_from(index).context("keys are numbered by u32")?;
        if unless(ErrorCode::NodeExists, answer, "create", &path(key))?.is_none() {
            old.push(key);
        }
        Ok(())
    })?;
    let sets = old.iter().map(|&key| {
        let path = path(key);
        let data = Some(&value[..]);
        let version = -1;
        SetDataRequest { path: &path, data, version }.to_bytes()
    });
    client.call_all(OpCode::SetData, sets, |index, answer| {
        answer.expect_ok(|| format!("set {}", path(old[index])))?;
        Ok(())
    })?;
    client.close()
}

/// Waits until each server has what was acknowledged before.
pub fn sync(addresses: &[SocketAddr]) -> Result<()> {
    for &address in addresses {
        let mut client = PlainClient::connect(address, TIMEOUT_MS)?;
        sync_one(&mut client, address)?;
        client.close()?;
    }
    Ok(())
}

fn sync_one(client: &mut PlainClient, address: SocketAddr) -> Result<()> {
    let answer = client.call(OpCode::Sync, &PathRequest { path: ROOT })?;
    answer.expect_ok(|| format!("sync at {address}"))?;
    Ok(())
}

/// Reads a sample of the acknowledged writes back, from each server.
pub fn read_back(
    addresses: &[SocketAddr],
    run: u32,
    shape: PathShape,
    ledger: &Ledger,
    requests: &Requests,
) -> Result<Verification> {
    let mut verification = Verification::default();
    let keys = spread(ledger.written_keys().collect());
    let created = spread(ledger.existing().collect());
    for &address in addresses {
        let mut client = PlainClient::connect(address, TIMEOUT_MS)?;
        sync_one(&mut client, address)?;

        let key_paths = keys.iter().map(|&(key, _)| key_path(shape, key));
        let bodies = key_paths.clone().map(|path| read(&path).to_bytes());
        client.call_all(OpCode::GetData, bodies, |index, answer| {
            let (key, write) = keys[index];
            let value = requests.stamped_value(write.stamp);
            let complaint = key_complaint(&answer, write, &value)?;
            verification.check(&key_path(shape, key), complaint);
            Ok(())
        })?;

        let created_paths = created.iter().map(|&number| created_path(run, number));
        let bodies = created_paths.map(|path| read(&path).to_bytes());
        client.call_all(OpCode::GetData, bodies, |index, answer| {
            let value = requests.stamped_value(created[index].into());
            let complaint = value_complaint(&answer, &value)?;
            verification.check(&created_path(run, created[index]), complaint);
            Ok(())
        })?;
        client.close()?;
    }
    Ok(verification)
}

/// Deletes the znodes that the create operations of a run have left.
pub fn delete_created(address: SocketAddr, run: u32, ledger: &Ledger) -> Result<()> {
    let mut numbers = ledger.may_exist().peekable();
    if numbers.peek().is_none() {
        return Ok(());
    }
    let mut client = PlainClient::connect(address, TIMEOUT_MS)?;
    let deletes = numbers.map(|number| {
        let path = created_path(run, number);
        DeleteRequest { path: &path, version: -1 }.to_bytes()
    });
    client.call_all(OpCode::Delete, deletes, |_, answer| {
        unless(ErrorCode::NoNode, answer, "delete", "a created znode")?;
        Ok(())
    })?;
    client.close()
}

/// The record of an answer; `None` when it failed with the one error that is fine.
fn unless(fine: ErrorCode, answer: Answer, verb: &str, path: &str) -> Result<Option<Bytes>> {
    if answer.err == fine.code() {
        return Ok(None);
    }
    answer.expect_ok(|| format!("{verb} {path}")).map(Some)
}

fn key_complaint(answer: &Answer, write: KeyWrite, value: &[u8]) -> Result<Option<String>> {
    if answer.err == 0 {
        let found = GetDataResponse::decode_all(&answer.body)?.stat.mzxid;
        if found != write.zxid {
            return Ok(Some(format!(
                "acknowledged at zxid {:#x}, found as of {found:#x}",
                write.zxid
            )));
        }
    }
    value_complaint(answer, value)
}

fn value_complaint(answer: &Answer, value: &[u8]) -> Result<Option<String>> {
    if answer.err != 0 {
        return Ok(Some(error_name(answer.err)));
    }
    let found = GetDataResponse::decode_all(&answer.body)?.data;
    let same = found.unwrap_or_default() == value;
    Ok((!same).then(|| "another value than the one acknowledged".to_owned()))
}

/// At most [`SAMPLE`] of `all`, evenly spread.
fn spread<T>(all: Vec<T>) -> Vec<T> {
    let step = all.len().div_ceil(SAMPLE).max(1);
    all.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests {
    use jute::data::Stat;

    use super::*;

    fn answer(data: &[u8], mzxid: i64) -> Answer {
        let stat = Stat { mzxid, ..Stat::decode_all(&[0; 68]).unwrap() };
        let data = Some(data);
        Answer { err: 0, body: GetDataResponse { data, stat }.to_bytes() }
    }

    #[test]
    fn a_key_must_hold_the_acknowledged_value_of_the_acknowledged_zxid() {
        let write = KeyWrite { zxid: 7, stamp: 1 };
        let complaint = |answer| key_complaint(&answer, write, b"new").unwrap();
        assert_eq!(complaint(answer(b"new", 7)), None);
        let wrong = [
            answer(b"old", 7),
            answer(b"new", 6),
            Answer { err: ErrorCode::NoNode.code(), body: Bytes::new() },
        ]
        .map(|answer| complaint(answer).unwrap());
        assert_eq!(
            wrong,
            [
                "another value than the one acknowledged",
                "acknowledged at zxid 0x7, found as of 0x6",
                "NoNode"
            ]
        );
    }

    #[test]
    fn a_sample_is_spread_over_everything() {
        assert_eq!(spread((0..10).collect()), (0..10).collect::<Vec<_>>());
        let sample = spread((0..2 * SAMPLE).collect());
        assert_eq!(sample.len(), SAMPLE);
        assert_eq!(sample.last(), Some(&(2 * SAMPLE - 2)));
        assert!(spread(Vec::<u8>::new()).is_empty());
    }
}
