//! Answers that outlive the frame they came in.

use jute::ErrorCode;
use jute::data::{Acl, Stat};
use jute::multi::{MultiResponse, MultiResult};

use crate::error::{Error, Result};

/// An ACL entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedAcl {
    /// See [`permission`](jute::data::permission).
    pub perms: i32,
    /// Such as `digest`.
    pub scheme: String,
    /// Such as `user:hash`.
    pub id: String,
}

impl From<&Acl<'_>> for OwnedAcl {
    fn from(acl: &Acl<'_>) -> Self {
        Self {
            perms: acl.perms,
            scheme: acl.id.scheme.to_owned(),
            id: acl.id.id.clone().into_owned(),
        }
    }
}

/// What one operation of a multi did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOutcome {
    /// Created this path.
    Create(String),
    /// Created this path, and its Stat.
    Create2(String, Stat),
    /// Deleted.
    Delete,
    /// Replaced the data.
    SetData(Stat),
    /// Checked the version.
    Check,
}

/// The outcomes, or the error of the operation that made the multi fail.
pub(crate) fn multi_outcomes(response: &MultiResponse<'_>) -> Result<Vec<MultiOutcome>> {
    failure(response).map_or(Ok(()), Err)?;
    let outcome = |result: &MultiResult<'_>| {
        Some(match result {
            MultiResult::Create(response) => MultiOutcome::Create(response.path.to_owned()),
            MultiResult::Create2(response) => {
                MultiOutcome::Create2(response.path.to_owned(), response.stat)
            }
            MultiResult::Delete => MultiOutcome::Delete,
            MultiResult::SetData(stat) => MultiOutcome::SetData(*stat),
            MultiResult::Check => MultiOutcome::Check,
            // Answers to reads are not asked for here, and errors were dealt with.
            MultiResult::GetChildren(_) | MultiResult::GetData(_) | MultiResult::Error(_) => {
                return None;
            }
        })
    };
    Ok(response.results.iter().filter_map(outcome).collect())
}

/// The error of a multi: operations before the failed one say 0, those behind it that they were
/// not tried.
fn failure(response: &MultiResponse<'_>) -> Option<Error> {
    let not_tried = ErrorCode::RuntimeInconsistency.code();
    let codes = response.results.iter().enumerate().filter_map(|(at, result)| match result {
        MultiResult::Error(code) if *code != 0 => Some((at, *code)),
        _ => None,
    });
    let (at, code) = codes.min_by_key(|(at, code)| (*code == not_tried, *at))?;
    Some(match ErrorCode::from_code(code) {
        Some(code) => Error::MultiFailed { at, code },
        None => Error::UnknownCode(code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_multi_names_the_operation_that_failed() {
        let results = [0, ErrorCode::NoNode.code(), ErrorCode::RuntimeInconsistency.code()];
        let response = MultiResponse { results: results.map(MultiResult::Error).to_vec() };
        let expected = Error::MultiFailed { at: 1, code: ErrorCode::NoNode };
        assert_eq!(multi_outcomes(&response), Err(expected));
    }

    #[test]
    fn a_multi_that_did_all_answers_one_outcome_each() {
        let response = MultiResponse { results: vec![MultiResult::Check, MultiResult::Delete] };
        let expected = vec![MultiOutcome::Check, MultiOutcome::Delete];
        assert_eq!(multi_outcomes(&response), Ok(expected));
    }
}
