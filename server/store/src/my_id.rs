//! The `myid` file in the data directory: the id of this server, as decimal text.

use std::sync::Arc;

use zab::ServerId;

use crate::disk::{Dir, Disk};
use crate::error::{Error, Result};
use crate::files::Files;

const NAME: &str = "myid";

/// Reads `myid`; `None` when there is none.
///
/// # Errors
/// When the file holds anything but one decimal number.
pub fn read_my_id(disk: &Arc<dyn Disk>) -> Result<Option<ServerId>> {
    let files = Files::new(Arc::clone(disk));
    let Some(bytes) = files.read_small(Dir::Home, NAME)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse() {
        Ok(id) => Ok(Some(ServerId(id))),
        Err(_) => Err(Error::Corrupt {
            path: files.path(Dir::Home, NAME),
            offset: 0,
            what: format!(
                "found {:?}, expected the id of this server as a decimal number",
                text.trim()
            ),
        }),
    }
}

/// Writes `myid` durably.
///
/// # Errors
/// When it cannot be written.
pub fn write_my_id(disk: &Arc<dyn Disk>, id: ServerId) -> Result<()> {
    let text = format!("{id}\n");
    Files::new(Arc::clone(disk)).replace(Dir::Home, NAME, text.as_bytes())
}
