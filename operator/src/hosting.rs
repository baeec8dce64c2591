//! Which mailbox server hosts which database: [`hosts`].
//!
//! Decides that databases are spread evenly over mailbox servers, and that none of them moves
//! without need: it stays where it is unless its server is gone or has more than its share. Refuses
//! to know what a database holds and why a server is in service. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The host of each of `count` databases, by number. `previous` are the hosts that they had; one
/// that is none of `servers` has no say. Without servers there are no hosts.
pub(crate) fn hosts(previous: &[String], servers: &BTreeSet<&str>, count: usize) -> Vec<String> {
    let mut room = shares(previous, servers, count);
    let mut stay = |database: usize| {
        let server = servers.get(previous.get(database)?.as_str())?;
        let left = room.get_mut(server).filter(|left| **left > 0)?;
        *left -= 1;
        Some(*server)
    };
    let staying: Vec<Option<&str>> = (0..count).map(&mut stay).collect();
    let mut emptiest = || {
        let (server, left) = room.iter_mut().max_by_key(|(server, left)| (**left, Reverse(**server)))?;
        *left = left.saturating_sub(1);
        Some(*server)
    };
    staying.into_iter().filter_map(|host| host.or_else(&mut emptiest)).map(str::to_owned).collect()
}

/// How many databases each server should host: the numbers differ by one at most, and the larger
/// one goes to those that hosted most, so that they need not give any away.
fn shares<'s>(previous: &[String], servers: &BTreeSet<&'s str>, count: usize) -> BTreeMap<&'s str, usize> {
    if servers.is_empty() {
        return BTreeMap::new();
    }
    let load = |server: &str| previous.iter().take(count).filter(|host| *host == server).count();
    let mut by_load: Vec<&str> = servers.iter().copied().collect();
    by_load.sort_by_key(|server| (Reverse(load(server)), *server));
    let (share, larger) = (count / servers.len(), count % servers.len());
    let share_of = |place: usize| if place < larger { share + 1 } else { share };
    by_load.into_iter().enumerate().map(|(place, server)| (server, share_of(place))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATABASES: usize = 32;

    fn assign(previous: &[String], servers: &[&str]) -> Vec<String> {
        hosts(previous, &servers.iter().copied().collect(), DATABASES)
    }

    /// How many databases each server hosts, in the order of their names.
    fn loads(hosts: &[String]) -> Vec<usize> {
        let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
        hosts.iter().for_each(|host| *loads.entry(host).or_default() += 1);
        loads.into_values().collect()
    }

    fn moved(before: &[String], after: &[String]) -> usize {
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    }

    #[test]
    fn without_a_server_there_is_no_host() {
        assert_eq!(assign(&[], &[]), Vec::<String>::new());
        assert_eq!(assign(&assign(&[], &["a"]), &[]), Vec::<String>::new());
    }

    #[test]
    fn one_server_hosts_every_database() {
        assert_eq!(assign(&[], &["a"]), vec!["a"; 32]);
    }

    #[test]
    fn what_a_server_hosted_that_is_gone_goes_to_those_that_stay_and_comes_back_with_it() {
        let two = assign(&[], &["a", "b"]);
        assert_eq!(loads(&two), [16, 16]);
        let one = assign(&two, &["b"]);
        assert_eq!(one, vec!["b"; 32]);
        let again = assign(&one, &["a", "b"]);
        assert_eq!((loads(&again), moved(&one, &again)), (vec![16, 16], 16));
    }

    #[test]
    fn a_third_server_takes_from_both_of_the_others_and_they_exchange_nothing() {
        let two = assign(&[], &["a", "b"]);
        let three = assign(&two, &["a", "b", "c"]);
        assert_eq!((loads(&three), moved(&two, &three)), (vec![11, 11, 10], 10));
        assert!(two.iter().zip(&three).all(|(before, after)| before == after || after == "c"));
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("main-mailbox-{number}")).collect()
    }

    proptest! {
        #[test]
        fn each_database_has_one_host_and_nobody_has_more_than_one_more_than_another(
            previous in prop::collection::vec("[a-h]", 0..40),
            servers in prop::collection::btree_set("[a-h]", 1..8),
        ) {
            let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
            let hosts = assign(&previous, &servers);
            prop_assert_eq!(hosts.len(), DATABASES);
            prop_assert!(hosts.iter().all(|host| servers.contains(&host.as_str())));
            let loads = loads(&hosts);
            prop_assert_eq!(loads.len(), servers.len());
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
            prop_assert_eq!(assign(&hosts, &servers), hosts, "with the same servers nothing moves");
        }

        #[test]
        fn one_server_more_or_less_moves_no_more_than_what_it_hosts(
            count in 1..40_usize,
            gone in any::<prop::sample::Index>(),
            history in prop::collection::vec(1..40_usize, 0..6),
        ) {
            let mut before = Vec::new();
            for count in history.into_iter().chain([count]) {
                let names = names(count);
                before = assign(&before, &names.iter().map(String::as_str).collect::<Vec<_>>());
            }
            let names = names(count + 1);
            let mut servers: Vec<&str> = names.iter().map(String::as_str).collect();
            let more = assign(&before, &servers);
            prop_assert!(moved(&before, &more) <= DATABASES.div_ceil(count + 1));
            let gone = servers.remove(gone.index(count + 1));
            let less = assign(&more, &servers);
            prop_assert!(moved(&more, &less) <= DATABASES.div_ceil(count + 1));
            let others = more.iter().zip(&less).filter(|(before, _)| *before != gone);
            prop_assert!(others.into_iter().all(|(before, after)| before == after), "what others host stays");
        }
    }
}
