//! What can go wrong in a pass. The stage is the label of the metric.

use thiserror::Error;

use crate::desired;

/// Why a pass failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The resource could not be read.
    #[error("the resource could not be read: {0}")]
    Read(#[source] kube::Error),
    /// The resource is not one this operator understands.
    #[error("the resource could not be understood: {0}")]
    Malformed(String),
    /// The resource cannot be carried out, and its author was told.
    #[error("the spec cannot be carried out: {0}")]
    Desired(#[from] desired::Error),
    /// A step was refused or did not get through.
    #[error("could not {step}: {message}")]
    Execute {
        /// The step.
        step: String,
        /// What the API server said.
        message: String,
    },
    /// The status could not be written.
    #[error("the status could not be written: {0}")]
    Status(#[source] kube::Error),
    /// This process no longer holds the lease.
    #[error("the lease was lost")]
    LeaseLost,
}

impl Error {
    /// The stage that failed.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Read(_) | Self::Malformed(_) => "read",
            Self::Desired(_) => "desired",
            Self::Execute { .. } => "execute",
            Self::Status(_) => "status",
            Self::LeaseLost => "lease",
        }
    }
}
