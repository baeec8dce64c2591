//! The eight kinds, as data.
//!
//! Decides their names and where their definitions are found. Refuses to know their fields.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind (decision 1).
pub const GROUP: &str = "umbriel.dev";

/// The version of every kind.
pub const VERSION: &str = "v1alpha1";

/// A kind of object that a person may write, in the order in which one leads to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A numbering plan.
    UMDialPlan,
    /// A peer that may call us.
    UMIPGateway,
    /// Which calls of a gateway belong to which dial plan.
    UMHuntGroup,
    /// What answers calls for nobody in particular.
    UMAutoAttendant,
    /// What the mailboxes of a dial plan have in common.
    UMMailboxPolicy,
    /// A user.
    UMMailbox,
    /// A server that redirects calls.
    UMCallRouter,
    /// A server that answers calls and records messages.
    UMService,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] = [
        Kind::UMDialPlan,
        Kind::UMIPGateway,
        Kind::UMHuntGroup,
        Kind::UMAutoAttendant,
        Kind::UMMailboxPolicy,
        Kind::UMMailbox,
        Kind::UMCallRouter,
        Kind::UMService,
    ];

    /// The name, as `kind` is written in a document.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::UMDialPlan => "UMDialPlan",
            Kind::UMIPGateway => "UMIPGateway",
            Kind::UMHuntGroup => "UMHuntGroup",
            Kind::UMAutoAttendant => "UMAutoAttendant",
            Kind::UMMailboxPolicy => "UMMailboxPolicy",
            Kind::UMMailbox => "UMMailbox",
            Kind::UMCallRouter => "UMCallRouter",
            Kind::UMService => "UMService",
        }
    }

    /// The kind of this name, if there is one.
    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The definition that a cluster is given, with the schema of the kind.
    pub fn definition(self) -> CustomResourceDefinition {
        match self {
            Kind::UMDialPlan => crate::UMDialPlan::crd(),
            Kind::UMIPGateway => crate::UMIPGateway::crd(),
            Kind::UMHuntGroup => crate::UMHuntGroup::crd(),
            Kind::UMAutoAttendant => crate::UMAutoAttendant::crd(),
            Kind::UMMailboxPolicy => crate::UMMailboxPolicy::crd(),
            Kind::UMMailbox => crate::UMMailbox::crd(),
            Kind::UMCallRouter => crate::UMCallRouter::crd(),
            Kind::UMService => crate::UMService::crd(),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
