//! What a change costs in a large namespace: one part, whatever the size.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

mod world;

use crds::Kind;
use umbriel_operator::{Effort, ObjectRef, PartName, Plan, Reconciler, Write, reconcile};
use world::{carry_out, key, name, put, serve, world};

const MAILBOXES: u32 = 5_000;

const OTHERS: u32 = 500;

/// The parts and the indices that a plan writes, and how many bytes of parts.
fn written(plan: &Plan) -> (Vec<PartName>, usize, usize) {
    let (mut parts, mut indices, mut bytes) = (Vec::new(), 0, 0);
    for write in &plan.writes {
        match write {
            Write::Part(named, part) => {
                parts.push(named.name);
                bytes += part.part.bytes.len();
            }
            Write::Mailbox(..) | Write::Router(..) => indices += 1,
            Write::TokenKeys(..) | Write::Workload(_) | Write::Remove(_) => {}
            Write::Status(..) | Write::Forget(_) | Write::Default(_) => {}
        }
    }
    (parts, indices, bytes)
}

#[test]
fn a_change_of_one_mailbox_writes_its_database_and_the_indices() {
    let mut world = world(MAILBOXES, OTHERS);
    let mut reconciler = Reconciler::default();
    let first = reconciler.reconcile(&world);
    assert_eq!(first, reconcile(&world));
    assert_eq!(first.problems, []);
    let (parts, indices, all) = written(&first);
    assert_eq!((parts.len(), indices), (33, 2), "32 databases and the site");
    carry_out(&mut world, first);
    // Statuses come a thousand at a time, so that no change waits for all of them.
    let mut plans = 0;
    loop {
        serve(&mut world);
        let plan = reconciler.reconcile(&world);
        assert_eq!(plan.cut_after, reconcile(&world).cut_after);
        let statuses = plan.writes.iter().filter(|write| matches!(write, Write::Status(..))).count();
        assert!(statuses <= 1_000 + MAILBOXES as usize / 100, "{statuses} statuses in one plan");
        if plan.writes.is_empty() && plan.cut_after.is_none() {
            break;
        }
        plans += 1;
        carry_out(&mut world, plan);
    }
    assert!((5..15).contains(&plans), "{plans} plans for two statuses of each of {MAILBOXES} mailboxes");

    let database = config::database_of(&name(7).name);
    put(&mut world, 7, "Somebody Else");
    let plan = reconciler.reconcile(&world);
    assert_eq!(plan, reconcile(&world), "a memory changes nothing");
    let (parts, indices, bytes) = written(&plan);
    eprintln!("{MAILBOXES} mailboxes: {all} bytes in 33 parts at first, {bytes} in one after a change");
    assert_eq!((parts, indices), (vec![PartName::Database(database)], 2));
    let slice = config::slice_of(&name(7).name);
    let there = world.mailboxes.iter().filter(|(key, _)| config::slice_of(&key.name) == slice).count();
    let effort = Effort { routing: 0, slices: 1, mailboxes: there, statuses: 1 };
    assert_eq!(reconciler.effort(), effort, "and looks at no other");
    assert!(bytes * 20 < all, "{bytes} of {all}");
    carry_out(&mut world, plan);

    world.mailboxes.remove(&name(7)).unwrap();
    let plan = reconciler.reconcile(&world);
    assert_eq!(plan, reconcile(&world));
    assert_eq!(written(&plan).0, [PartName::Database(database)]);
    carry_out(&mut world, plan);

    world.gateways.remove(&key("gateway-00000")).unwrap();
    let plan = reconciler.reconcile(&world);
    assert_eq!(plan, reconcile(&world));
    assert_eq!(written(&plan).0, [PartName::Site], "what is no mailbox is in the site");
    carry_out(&mut world, plan);
    assert_eq!(written(&reconciler.reconcile(&world)), (vec![], 0, 0));
}

#[test]
fn statuses_that_are_refused_keep_no_others_waiting() {
    let mut world = world(MAILBOXES, OTHERS);
    let mut reconciler = Reconciler::default();
    // Those of gateways, and of every second mailbox: more than one plan says.
    let is_refused = |write: &Write| {
        let Write::Status(object, _) = write else { return false };
        object.kind == Kind::UMIPGateway.name() || object.key.name.ends_with(['0', '2', '4', '6', '8'])
    };
    for _ in 0..10 {
        serve(&mut world);
        let mut plan = reconciler.reconcile(&world);
        plan.writes.retain(|write| !is_refused(write));
        carry_out(&mut world, plan);
    }
    let mut odd = (1..MAILBOXES).step_by(2).map(|number| ObjectRef::new(Kind::UMMailbox, &name(number)));
    assert_eq!(odd.find(|mailbox| world.observed.statuses.get(mailbox).is_none()), None);
}
