//! Volumes for mailbox servers: the tests' cluster has nobody who makes them.
//!
//! Decides that a volume is a folder of this machine, which both nodes are.

use std::os::unix::fs::chown;

use tempfile::TempDir;

use crate::cluster::{Cluster, Namespace};

/// The user of our pods. A volume of this kind is not given to a pod's group.
const USER_ID: u32 = 65_532;

/// A volume for the first mailbox server of UMService `mailbox` in a namespace, and its folder.
#[derive(Debug)]
pub struct Volume<'c> {
    cluster: &'c Cluster,
    name: String,
    _folder: TempDir,
}

impl<'c> Volume<'c> {
    /// Offers it to the server's claim.
    ///
    /// # Panics
    /// If the folder cannot be made, or the volume is refused.
    #[must_use]
    pub fn offer(cluster: &'c Cluster, namespace: &Namespace<'_>) -> Volume<'c> {
        let folder = tempfile::Builder::new().prefix("umbriel-volume-").tempdir().expect("a folder");
        chown(folder.path(), Some(USER_ID), Some(USER_ID)).expect("the folder is given away");
        let name = namespace.name.clone();
        namespace.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  \
             accessModes: [ReadWriteOnce]\n  capacity: {{storage: 10Gi}}\n  hostPath: {{path: {}}}\n  \
             claimRef: {{namespace: {name}, name: state-mailbox-mailbox-0}}\n",
            folder.path().display()
        ));
        Volume { cluster, name, _folder: folder }
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        // It goes at the latest with the cluster.
        let mut delete = self.cluster.command("kubectl");
        let _deleted = delete.args(["delete", "persistentvolume", "--wait=false", &self.name]).output();
    }
}
