//! Whether an object already says what it should: [`holds`].
//!
//! Decides what counts as a difference. What others wrote into an object beside us, and what the
//! API server added, does not.

use serde_json::Value as Json;

/// Whether everything in `wanted` stands in `live`.
pub(crate) fn holds(live: &Json, wanted: &Json) -> bool {
    match (live, wanted) {
        (Json::Object(live), Json::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| live.get(name).is_some_and(|live| holds(live, wanted)))
        }
        // Items that are groups have names of their own, and others may stand beside them.
        (Json::Array(live), Json::Array(wanted)) if wanted.iter().all(Json::is_object) => {
            wanted.iter().all(|wanted| live.iter().any(|live| holds(live, wanted)))
        }
        (_, _) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_no_difference() {
        let wanted = json!({"spec": {"replicas": 2, "ports": [{"name": "sip", "port": 5060}]}});
        let live = json!({
            "spec": {
                "replicas": 2,
                "clusterIP": "10.0.0.1",
                "ports": [{"name": "other", "port": 1}, {"name": "sip", "port": 5060, "nodePort": 30000}],
            },
            "status": {},
        });
        assert!(holds(&live, &wanted));
    }

    #[test]
    fn what_others_change_or_remove_is_a_difference() {
        let wanted = json!({"spec": {"replicas": 2, "args": ["router", "--x"]}});
        assert!(!holds(&json!({"spec": {"replicas": 0, "args": ["router", "--x"]}}), &wanted));
        assert!(!holds(&json!({"spec": {"args": ["router", "--x"]}}), &wanted));
        assert!(!holds(&json!({"spec": {"replicas": 2, "args": ["router"]}}), &wanted));
        assert!(!holds(&json!({"spec": {"replicas": 2, "args": ["--x", "router"]}}), &wanted));
        assert!(!holds(&json!({}), &wanted));
    }
}
