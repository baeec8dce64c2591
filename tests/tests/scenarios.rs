//! The scenarios on the program that stands alone, each with a folder and an address of its own.

use umbriel_tests::scenarios::{ALL, Scenario};
use umbriel_tests::{House, every_scenario};

fn shows(name: &str) {
    let found = ALL.iter().find(|scenario| scenario.name == name);
    let scenario: &Scenario = found.expect("a scenario of the list");
    if scenario.is_able() {
        let house = House::builder();
        let house = if scenario.mails() { house.smtp() } else { house };
        (scenario.run)(&house.start());
    }
}

macro_rules! tests {
    ($($module:ident :: $name:ident [$($program:expr),*],)*) => {$(
        #[test]
        fn $name() {
            shows(stringify!($name));
        }
    )*};
}

every_scenario!(tests);
