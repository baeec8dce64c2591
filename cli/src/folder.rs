//! Looks at a folder without serving it.
//!
//! Decides what is said when it is not there. Refuses to know what is in it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::SystemTime;

use config::Code;
use miette::{Result, miette};
use operator::Preview;

use crate::args::NameArguments;

/// The address that a folder is looked at with; whether it is right does not depend on it.
const ANY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What would follow from the objects of a folder.
pub(crate) fn look(folder: &Path, names: &NameArguments) -> Result<Preview> {
    must_exist(folder)?;
    Ok(operator::preview(folder, ANY_ADDRESS, SystemTime::now(), &names.servers))
}

/// A folder that is not there is a slip of the finger, not an empty folder.
pub(crate) fn must_exist(folder: &Path) -> Result<()> {
    let code = Code::UnreadableSource;
    let what = match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "is a file, not a folder".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(miette!(
        "{code}: {} {what}; name the folder that holds the objects, for example examples/quickstart",
        folder.display()
    ))
}
