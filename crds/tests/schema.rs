//! The generated definitions: equal to the types, described throughout, and as strict as `check`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop the test where they stand")]

use std::path::Path;

use serde_json::{Value, json};
use umbriel_crds::{Kind, UMDialPlanSpec, UMHuntGroupSpec, UMServiceSpec, Violation, ViolationCode};

/// The schema of a kind, as a cluster reads it.
fn schema(kind: Kind) -> Value {
    let definition = serde_json::to_value(kind.definition()).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with the path and schema of every property below `schema`.
fn for_each_property(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, property);
        for_each_property(&path, property, visit);
        for_each_property(&format!("{path}[]"), &property["items"], visit);
    }
}

#[test]
fn the_written_definitions_are_those_of_the_types() {
    for kind in Kind::ALL {
        let definition = kind.definition();
        let name = format!("{}.yaml", definition.spec.names.plural);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let written = written.split_once('\n').map(|(_, rest)| rest).unwrap_or_default();
        let generated = serde_yaml::to_string(&definition).unwrap();
        assert!(written == generated, "{name} is stale: run `make generate`");
    }
}

#[test]
fn every_property_is_described() {
    for kind in Kind::ALL {
        for_each_property(kind.name(), &schema(kind), &mut |path, property| {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{path} has no description that is a sentence");
        });
    }
}

#[test]
fn every_kind_has_a_short_name_a_category_a_status_and_a_column_that_says_whether_it_is_ready() {
    let mut short_names = Vec::new();
    for kind in Kind::ALL {
        let definition = kind.definition();
        let names = definition.spec.names;
        assert_eq!(names.kind, kind.name());
        assert_eq!(names.categories, Some(vec!["um".into()]));
        short_names.extend(names.short_names.unwrap_or_default());
        let version = &definition.spec.versions[0];
        assert!(
            version.subresources.as_ref().is_some_and(|subresources| subresources.status.is_some()),
            "{kind}"
        );
        let columns = version.additional_printer_columns.as_deref().unwrap_or_default();
        for name in ["Ready", "Reason", "Age"] {
            assert!(columns.iter().any(|column| column.name == name), "{kind} {name}");
        }
    }
    assert_eq!(short_names, ["umdp", "umgw", "umhg", "umaa", "ummp", "ummb", "umcr", "umsvc"]);
}

#[test]
fn every_rule_names_the_value_the_rule_and_the_fix_under_a_code() {
    let mut rules = 0;
    for kind in Kind::ALL {
        let spec = &schema(kind)["properties"]["spec"];
        let mut look = |path: &str, property: &Value| {
            for bare in ["pattern", "minimum", "maximum", "minLength", "minItems"] {
                assert!(property[bare].is_null(), "{kind}{path} is refused with a bare {bare}");
            }
            for rule in property["x-kubernetes-validations"].as_array().into_iter().flatten() {
                rules += 1;
                let said = rule["messageExpression"].as_str().unwrap_or_default();
                assert!(
                    said.starts_with("\"UM1") && said.contains(": value %s; rule "),
                    "{kind}{path}: {said}"
                );
                assert!(said.contains("; fix "), "{kind}{path}: {said}");
                let plain = rule["message"].as_str().unwrap_or_default();
                assert!(plain.starts_with("UM1") && plain.contains("; fix "), "{kind}{path}: {plain}");
            }
            // What is as long as it likes may cost as much as it likes.
            let any_length = property["type"] == "string" && property["enum"].is_null();
            assert!(!any_length || !property["maxLength"].is_null(), "{kind}{path} has no maxLength");
        };
        look("", spec);
        for_each_property("", spec, &mut |path, property| {
            look(path, property);
            if property["items"].is_object() {
                look(path, &property["items"]);
            }
        });
    }
    assert!(rules >= 30, "{rules} rules");
}

#[test]
fn what_is_create_only_cannot_change() {
    let plan = |digits: i64| -> UMDialPlanSpec {
        serde_json::from_value(json!({"numberOfDigitsInExtension": digits})).unwrap()
    };
    assert_eq!(plan(3).check_change(&plan(3)), []);
    assert_eq!(
        plan(4).check_change(&plan(3)),
        [Violation {
            field: "spec.numberOfDigitsInExtension".into(),
            value: "4".into(),
            rule: "3, as it was made; it cannot change while the dial plan exists".into(),
            fix: "put it back, or delete the dial plan and make it anew".into(),
            code: ViolationCode::Immutable,
        }]
    );
    let named: UMDialPlanSpec =
        serde_json::from_value(json!({"numberOfDigitsInExtension": 3, "uriType": "SipName"})).unwrap();
    let refused = named.check_change(&plan(3));
    assert_eq!(refused.iter().map(|violation| &*violation.field).collect::<Vec<_>>(), ["spec.uriType"]);
    let group = |gateway: &str, pilot: Option<&str>| UMHuntGroupSpec {
        um_ip_gateway: gateway.into(),
        um_dial_plan: "contoso".into(),
        pilot_identifier: pilot.map(str::to_owned),
    };
    assert_eq!(group("pbx", None).check_change(&group("pbx", None)), []);
    let refused = group("sbc", None).check_change(&group("pbx", Some("500")));
    let refused: Vec<_> = refused.iter().map(|violation| (&*violation.field, &*violation.value)).collect();
    assert_eq!(refused, [("spec.umIPGateway", "sbc"), ("spec.pilotIdentifier", "(nothing)")]);
}

#[test]
fn an_omitted_field_means_what_its_schema_says() {
    let plan: UMDialPlanSpec = serde_json::from_value(json!({"numberOfDigitsInExtension": 3})).unwrap();
    let groups = json!({
        "smtp": {"host": "mail", "from": "um@contoso.example"},
        "store": {"s3": {"bucket": "messages", "secretName": "keys"}},
    });
    let service: UMServiceSpec = serde_json::from_value(groups).unwrap();
    for (kind, spec) in [
        (Kind::UMDialPlan, serde_json::to_value(plan).unwrap()),
        (Kind::UMService, serde_json::to_value(service).unwrap()),
    ] {
        for_each_property("", &schema(kind)["properties"]["spec"], &mut |path, property| {
            if let Some(default) = property.get("default") {
                let pointer = path.replace('.', "/");
                assert_eq!(spec.pointer(&pointer), Some(default), "{kind}{path}");
            }
        });
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let plan: UMDialPlanSpec = serde_json::from_value(json!({"numberOfDigitsInExtension": 3})).unwrap();
    assert_eq!(
        serde_json::to_value(plan).unwrap(),
        json!({
            "numberOfDigitsInExtension": 3, "uriType": "TelExtn", "generateUMMailboxPolicy": true, "voIPSecurity": "Unsecured", "defaultLanguage": "en-US",
            "maxCallDuration": 30, "maxRecordingDuration": 20, "recordingIdleTimeout": 5,
        })
    );
    let service: UMServiceSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(
        serde_json::to_value(service).unwrap(),
        json!({
            "sipTcpListeningPort": 5062, "sipTlsListeningPort": 5063, "sipUdpListeningPort": 5062,
            "umStartupMode": "TCP", "status": "Enabled", "exposure": "Pod", "replicas": 1, "maxCallsAllowed": 100,
        })
    );
}

#[test]
fn the_schema_and_the_check_draw_the_same_bounds() {
    let required = json!({"numberOfDigitsInExtension": 3});
    bounds_agree::<UMDialPlanSpec>(Kind::UMDialPlan, &required, UMDialPlanSpec::check);
    bounds_agree::<UMServiceSpec>(Kind::UMService, &json!({}), UMServiceSpec::check);
}

/// The bounds of a number, as its first rule draws them.
fn bounds(property: &Value) -> Option<(i64, i64)> {
    let rule = property["x-kubernetes-validations"][0]["rule"].as_str()?;
    let (low, high) = rule.strip_prefix("self >= ")?.split_once(" && self <= ")?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// Sets every bounded number of a spec to its bounds and to one beyond them, and asks `check`.
fn bounds_agree<S: serde::de::DeserializeOwned>(kind: Kind, base: &Value, check: fn(&S) -> Vec<Violation>) {
    for_each_property("", &schema(kind)["properties"]["spec"], &mut |path, property| {
        let Some((low, high)) = bounds(property) else { return };
        let Some(name) = path.strip_prefix('.').filter(|name| !name.contains('.')) else { return };
        for (value, fits) in [(low, true), (high, true), (low - 1, false), (high + 1, false)] {
            let mut spec = base.clone();
            spec[name] = json!(value);
            let spec: S = serde_json::from_value(spec).unwrap();
            let refused = check(&spec).iter().any(|violation| {
                violation.code == ViolationCode::OutOfRange && violation.field == format!("spec.{name}")
            });
            assert_eq!(refused, !fits, "{kind} {name} {value}");
        }
    });
}

#[test]
fn a_recording_as_long_as_its_call_is_refused() {
    let spec = json!({"numberOfDigitsInExtension": 3, "maxCallDuration": 20});
    let plan: UMDialPlanSpec = serde_json::from_value(spec).unwrap();
    let codes: Vec<ViolationCode> = plan.check().iter().map(|violation| violation.code).collect();
    assert_eq!(codes, [ViolationCode::DurationOrder]);
}

#[test]
fn a_server_does_not_listen_twice_on_one_port() {
    let service: UMServiceSpec = serde_json::from_value(json!({"sipTlsListeningPort": 5062})).unwrap();
    let codes: Vec<ViolationCode> = service.check().iter().map(|violation| violation.code).collect();
    assert_eq!(codes, [ViolationCode::PortConflict]);
}
