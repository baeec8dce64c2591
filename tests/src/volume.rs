//! Volumes for mailbox servers: the tests' cluster has nobody who makes them.
//!
//! Decides that a volume is a folder of this machine, which both nodes are.

use std::os::unix::fs::chown;
use std::path::Path;

use tempfile::TempDir;

use crate::cluster::{Cluster, Namespace};

/// The user of our pods. A volume of this kind is not given to a pod's group.
const USER_ID: u32 = 65_532;

/// A volume for one claim of a namespace, and its folder.
#[derive(Debug)]
pub struct Volume<'c> {
    cluster: &'c Cluster,
    name: String,
    folder: TempDir,
}

impl<'c> Volume<'c> {
    /// Offers one to the first mailbox server of UMService `mailbox`.
    ///
    /// # Panics
    /// If the folder cannot be made, or the volume is refused.
    #[must_use]
    pub fn offer(cluster: &'c Cluster, namespace: &Namespace<'_>) -> Volume<'c> {
        Volume::offer_to(cluster, namespace, "state-mailbox-mailbox-0", "ReadWriteOnce")
    }

    /// Offers one with an access mode to a claim, which need not be there yet.
    ///
    /// # Panics
    /// If the folder cannot be made, or the volume is refused.
    #[must_use]
    pub fn offer_to(cluster: &'c Cluster, namespace: &Namespace<'_>, claim: &str, mode: &str) -> Volume<'c> {
        let folder = tempfile::Builder::new().prefix("umbriel-volume-").tempdir().expect("a folder");
        chown(folder.path(), Some(USER_ID), Some(USER_ID)).expect("the folder is given away");
        let name = format!("{}-{claim}", namespace.name);
        namespace.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  \
             accessModes: [{mode}]\n  capacity: {{storage: 10Gi}}\n  hostPath: {{path: {}}}\n  \
             claimRef: {{namespace: {}, name: {claim}}}\n",
            folder.path().display(),
            namespace.name
        ));
        Volume { cluster, name, folder }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        // It goes at the latest with the cluster.
        let mut delete = self.cluster.command("kubectl");
        let _deleted = delete.args(["delete", "persistentvolume", "--wait=false", &self.name]).output();
    }
}
