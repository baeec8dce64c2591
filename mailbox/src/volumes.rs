//! The files of the spool: a row of volumes that are written at the end and removed at the front.
//!
//! All recordings of the server share one volume at a time: a sync then costs the same for one
//! call as for two hundred, where a file for each would cost two hundred syncs. Volumes are removed
//! from the oldest on, once nothing in them needs care, so that what says "gone" always outlives
//! what it speaks of.
//!
//! Decides what is on disk. Refuses to know when to write, and what a recording becomes.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Code;

use crate::message::MessageId;
use crate::spool::{self, Entry, Segment};

/// A volume that has grown to this is followed by a new one: about 35 minutes of one recording.
const VOLUME_BYTES: u64 = 16 * 1024 * 1024;

/// Where segments lie.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: Arc<Path>,
    salt: u32,
    offset: u64,
    length: usize,
}

impl Place {
    /// A part of what lies here.
    pub(crate) fn part(&self, part: &Range<usize>) -> Place {
        Place { offset: self.offset + part.start as u64, length: part.len(), ..self.clone() }
    }
}

/// The volumes in one folder.
#[derive(Debug)]
pub(crate) struct Volumes {
    dir: PathBuf,
    salt: u32,
    all: BTreeMap<u64, Volume>,
    current: Option<Current>,
    next_number: u64,
}

#[derive(Debug)]
struct Volume {
    path: Arc<Path>,
    /// Recordings with segments in it.
    members: HashSet<MessageId>,
}

#[derive(Debug)]
struct Current {
    number: u64,
    file: File,
    length: u64,
}

impl Volumes {
    /// Opens the volumes in `dir`, and says which recordings in them need care and where their
    /// segments lie. What is written from now on has the salt `salt`.
    ///
    /// # Errors
    /// When the folder or a volume in it cannot be read.
    pub(crate) fn open(dir: &Path, salt: u32) -> io::Result<(Self, BTreeMap<MessageId, Vec<Place>>)> {
        let mut volumes =
            Self { dir: dir.to_owned(), salt, all: BTreeMap::new(), current: None, next_number: 0 };
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if let Some((number, salt)) = path.file_name().and_then(|name| parse_name(name.to_str()?)) {
                names.push((number, salt, Arc::from(path)));
            }
        }
        names.sort_by_key(|(number, _, _)| *number);
        let mut found = BTreeMap::new();
        let mut gone = HashSet::new();
        for (number, salt, path) in names {
            volumes.next_number = number + 1;
            let members = recover(&path, salt, &mut found, &mut gone)?;
            volumes.all.insert(number, Volume { path, members });
        }
        found.retain(|id, _| !gone.contains(id));
        Ok((volumes, found))
    }

    /// The salt of everything that is written.
    pub(crate) fn salt(&self) -> u32 {
        self.salt
    }

    /// Appends `bytes`, segments of `members`, and syncs them; returns where they lie.
    ///
    /// # Errors
    /// When they are not safe. What was written of them is cut off again, or left behind in a
    /// volume that is not written further; written again they do no harm.
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        members: impl Iterator<Item = MessageId>,
    ) -> io::Result<Place> {
        let current = match self.current.take().filter(|current| current.length < VOLUME_BYTES) {
            Some(current) => self.current.insert(current),
            None => {
                let current = self.create()?;
                self.current.insert(current)
            }
        };
        let volume = self
            .all
            .get_mut(&current.number)
            .ok_or_else(|| io::Error::other("the current volume is not among the volumes"))?;
        volume.members.extend(members);
        let path = Arc::clone(&volume.path);
        let start = current.length;
        let written = current.file.seek(SeekFrom::Start(start)).and_then(|_| current.file.write_all(bytes));
        if let Err(error) = written {
            if current.file.set_len(start).is_err() {
                self.current = None;
            }
            return Err(error);
        }
        if let Err(error) = current.file.sync_data() {
            // After a failed sync nobody knows which pages reached the disk.
            self.current = None;
            return Err(error);
        }
        current.length += bytes.len() as u64;
        Ok(Place { path, salt: self.salt, offset: start, length: bytes.len() })
    }

    /// Whether a volume has segments of this recording.
    pub(crate) fn hold(&self, id: MessageId) -> bool {
        self.all.values().any(|volume| volume.members.contains(&id))
    }

    /// Removes volumes from the oldest on, as far as nothing in them needs care; not the one that
    /// is written now if `more_follows`.
    pub(crate) fn retire(&mut self, more_follows: bool, needs_care: impl Fn(&MessageId) -> bool) {
        while let Some(oldest) = self.all.first_entry() {
            let is_current = self.current.as_ref().is_some_and(|current| current.number == *oldest.key());
            if oldest.get().members.iter().any(&needs_care) || is_current && more_follows {
                return;
            }
            if is_current {
                self.current = None;
            }
            let volume = oldest.remove();
            if let Err(error) = fs::remove_file(&volume.path) {
                tracing::warn!(path = %volume.path.display(), %error, "a volume of the spool cannot be removed");
            }
        }
    }

    fn create(&mut self) -> io::Result<Current> {
        let number = self.next_number;
        self.next_number += 1;
        let path = self.dir.join(name(number, self.salt));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        self.all.insert(number, Volume { path: path.into(), members: HashSet::new() });
        File::open(&self.dir)?.sync_all()?;
        Ok(Current { number, file, length: 0 })
    }
}

fn name(number: u64, salt: u32) -> String {
    format!("volume-{number:08}-{salt:08x}.spool")
}

fn parse_name(name: &str) -> Option<(u64, u32)> {
    let (number, salt) = name.strip_prefix("volume-")?.strip_suffix(".spool")?.split_once('-')?;
    Some((number.parse().ok()?, u32::from_str_radix(salt, 16).ok()?))
}

/// Finds what an earlier process left in a volume; returns whose segments are in it.
fn recover(
    path: &Arc<Path>,
    salt: u32,
    found: &mut BTreeMap<MessageId, Vec<Place>>,
    gone: &mut HashSet<MessageId>,
) -> io::Result<HashSet<MessageId>> {
    let scan = spool::scan(&fs::read(path)?, salt);
    if !scan.damaged.is_empty() {
        tracing::error!(
            code = Code::SpoolDamaged.id(), volume = %path.display(),
            bytes = scan.damaged.iter().map(ExactSizeIterator::len).sum::<usize>(),
            "a piece of the spool is damaged; the rest of it is delivered"
        );
    }
    let mut members = HashSet::new();
    for (place, segment) in scan.segments {
        if segment.entry == Entry::Gone {
            gone.insert(segment.id);
            continue;
        }
        members.insert(segment.id);
        let place = Place { path: Arc::clone(path), salt, offset: place.start as u64, length: place.len() };
        found.entry(segment.id).or_default().push(place);
    }
    Ok(members)
}

/// Reads the segments at `places`. A segment that was damaged since is left out.
///
/// # Errors
/// When a volume cannot be read.
pub(crate) fn read(places: &[Place]) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut open: Option<(Arc<Path>, File)> = None;
    for place in places {
        let file = match open.take() {
            Some((path, file)) if path == place.path => file,
            Some(_) | None => File::open(&place.path)?,
        };
        let mut bytes = vec![0; place.length];
        file.read_exact_at(&mut bytes, place.offset)?;
        segments.extend(spool::scan(&bytes, place.salt).segments.into_iter().map(|(_, segment)| segment));
        open = Some((Arc::clone(&place.path), file));
    }
    Ok(segments)
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
