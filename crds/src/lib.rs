//! The public API: the custom resources that a person may write, one file a kind.
//!
//! This room decides the fields, their defaults and what one object may say about itself
//! ([`Violation`]). It refuses to know other objects, files, sockets and how anything is served:
//! whether a reference leads anywhere is for the operator to say. The definitions in
//! `crds/*.yaml` are generated from here (`make generate`), and a test holds them equal.

#![allow(clippy::duplicated_attributes, reason = "two printer columns of one type are not one written twice")]

mod address;
mod auto_attendant;
mod call_router;
mod dial_plan;
mod hunt_group;
mod ip_gateway;
mod kind;
mod mailbox;
mod mailbox_policy;
mod message_store;
mod rule;
mod server;
mod service;
mod status;
mod violation;

pub use auto_attendant::{AttendantStatus, UMAutoAttendant, UMAutoAttendantSpec};
pub use call_router::{UMCallRouter, UMCallRouterSpec, UnknownPeers};
pub use dial_plan::{DefaultLanguage, UMDialPlan, UMDialPlanSpec, UMDialPlanStatus, UriType, VoIPSecurity};
pub use hunt_group::{UMHuntGroup, UMHuntGroupSpec};
pub use ip_gateway::{
    GatewayStatus, IpAddressFamily, PeerAddress, UMIPGateway, UMIPGatewaySpec, UMIPGatewayStatus,
};
pub use kind::{GROUP, Kind, VERSION};
pub use mailbox::{SecondaryAddress, UMMailbox, UMMailboxSpec};
pub use mailbox_policy::{UMMailboxPolicy, UMMailboxPolicySpec, UMMailboxPolicyStatus};
pub use message_store::{Bucket, MessageStore};
pub use server::{Exposure, ServerStatus, StartupMode};
pub use service::{Smtp, SmtpSecurity, UMService, UMServiceSpec};
pub use status::{Condition, ConditionStatus, Status};
pub use violation::{Violation, ViolationCode, check_name};
