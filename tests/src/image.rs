//! The container image: built of the program under test, unpacked, and run as a node would.
//!
//! Refuses to trust the tools that built it: it reads the archive by itself, and runs what lies in
//! it as its user, on a root that cannot be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::house;

/// What runs a program inside of the image: the folder of the unpacked image, the folder with
/// objects that is seen as /site, then the program and its arguments. All mounts are gone with it.
const INSIDE: &str = r#"
root=$1 site=$2 user=$3; shift 3
mount --bind "$root" "$root"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o uid=65532,gid=65532 state "$root/var/lib/umbriel"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$site" "$root/site"
mount -o remount,bind,ro "$root"
cd "$root"
exec env -i PATH=/usr/sbin:/usr/bin setpriv --no-new-privs chroot --userspec="$user" "$root" "$@"
"#;

/// The archive with the image of the program under test, made once.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn archive() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = house::umbriel();
        // …/target/debug/umbriel
        let archive = program.ancestors().nth(2).expect("the target folder").join("image/umbriel-dev.tar");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("image");
        let made = Command::new(script).arg(program).arg(&archive).output().expect("tests/image runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        archive
    })
}

/// An image, unpacked.
#[derive(Debug)]
pub struct Image {
    folder: TempDir,
    /// Its configuration, as the Open Container Initiative's image specification names the parts.
    pub config: Value,
}

impl Image {
    /// Unpacks the one image of an archive.
    ///
    /// # Panics
    /// If that is not what the archive holds.
    #[must_use]
    pub fn unpack(archive: &Path) -> Image {
        let folder = tempfile::Builder::new().prefix("umbriel-image-").tempdir().expect("a folder");
        let parts = folder.path().join("archive");
        let root = folder.path().join("root");
        fs::create_dir(&parts).expect("a folder");
        fs::create_dir(&root).expect("a folder");
        untar(archive, &parts);
        let index = json(&parts.join("index.json"));
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1), "one image");
        let manifest = json(&blob(&parts, &index["manifests"][0]));
        for layer in manifest["layers"].as_array().expect("layers") {
            untar(&blob(&parts, layer), &root);
        }
        let config = json(&blob(&parts, &manifest["config"]));
        for mounted in ["proc", "dev", "site"] {
            fs::create_dir_all(root.join(mounted)).expect("a place to mount on");
        }
        Image { folder, config }
    }

    /// Where its files lie.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A command that runs inside of the image as its user, with nothing to write on but /tmp and
    /// /var/lib/umbriel, and with `site` as /site.
    ///
    /// # Panics
    /// If the image names no user.
    #[must_use]
    pub fn command(&self, site: &Path, program: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", INSIDE, "inside"]).arg(self.root()).arg(site);
        command.arg(self.config["config"]["User"].as_str().expect("a user")).args(program);
        command
    }
}

fn untar(archive: &Path, into: &Path) {
    let status = Command::new("tar").arg("-C").arg(into).arg("-xf").arg(archive).status().expect("tar runs");
    assert!(status.success(), "{} cannot be unpacked", archive.display());
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a part of the archive")).expect("JSON")
}

fn blob(parts: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    parts.join("blobs").join(digest.replace(':', "/"))
}
