//! [`Problem`]: something that a person should know and can repair.
//!
//! Decides how a problem reads, in a terminal and in a condition: which object, which field, what
//! it says, the rule, the repair, and the code. Refuses to know who finds it.

use std::path::PathBuf;

use config::Code;
use crds::{Violation, ViolationCode};

use crate::world::ObjectRef;

/// Something that is wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// The object; `None` where a whole file is meant or its document names none.
    pub object: Option<ObjectRef>,
    /// The field, from the root of the object: `spec.extensions[1]`. Empty where none is meant.
    pub field: String,
    /// What it says. Empty where it says nothing.
    pub value: String,
    /// What it may say.
    pub rule: String,
    /// What to do.
    pub fix: String,
    /// The object whose repair resolves this too, where nothing is wrong here itself.
    pub waits_for: Option<ObjectRef>,
}

/// A problem and the place where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub file: PathBuf,
    /// The line of the field, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

impl Problem {
    /// The violation `violation` of the object `object`.
    pub(crate) fn violation(object: &ObjectRef, violation: Violation) -> Problem {
        let code = match violation.code {
            ViolationCode::OutOfRange => Code::OutOfRange,
            ViolationCode::DurationOrder => Code::DurationOrder,
            ViolationCode::PortConflict => Code::PortConflict,
            ViolationCode::InvalidName => Code::InvalidName,
            ViolationCode::Immutable => Code::ImmutableField,
        };
        Problem {
            code,
            object: Some(object.clone()),
            field: violation.field,
            value: violation.value,
            rule: violation.rule,
            fix: violation.fix,
            waits_for: None,
        }
    }

    /// The problem as one line, for a condition.
    pub(crate) fn sentence(&self) -> String {
        let mut text = String::from(self.code.id());
        let parts =
            [("field", &self.field), ("value", &self.value), ("rule", &self.rule), ("fix", &self.fix)];
        let mut separator = ": ";
        for (name, part) in parts {
            if !part.is_empty() {
                text += &format!("{separator}{name} {part}");
                separator = "; ";
            }
        }
        text
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.code.id(), self.code.name())?;
        if let Some(object) = &self.object {
            write!(formatter, ": {object}")?;
        }
        for (name, part) in
            [("field", &self.field), ("value", &self.value), ("rule", &self.rule), ("fix", &self.fix)]
        {
            if !part.is_empty() {
                write!(formatter, "\n  {name:<5}  {}", part.replace('\n', "\n         "))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Located {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.file.display(), self.problem),
            line => write!(formatter, "{}:{line}: {}", self.file.display(), self.problem),
        }
    }
}

/// Whether this object was written and refused.
pub(crate) fn is_refused(refused: &[Problem], object: &ObjectRef) -> bool {
    refused.iter().any(|problem| problem.object.as_ref() == Some(object))
}

/// Whether something was written of which nobody can tell which object it is.
pub(crate) fn has_unread(refused: &[Problem]) -> bool {
    refused.iter().any(|problem| problem.object.is_none())
}

#[cfg(test)]
mod tests {
    use crds::Kind;

    use super::*;
    use crate::world::Key;

    fn problem() -> Problem {
        Problem {
            code: Code::OutOfRange,
            object: Some(ObjectRef::new(Kind::UMDialPlan, &Key::new("default", "contoso"))),
            field: "spec.recordingIdleTimeout".into(),
            value: "99".into(),
            rule: "2 to 10 seconds".into(),
            fix: "write a whole number of seconds from 2 to 10, such as 5".into(),
            waits_for: None,
        }
    }

    #[test]
    fn a_located_problem_reads_as_a_compiler_would_write_it() {
        let located =
            Located { file: "examples/quickstart/dialplan.yaml".into(), line: 7, problem: problem() };
        assert_eq!(
            located.to_string(),
            "examples/quickstart/dialplan.yaml:7: UM1006 OutOfRange: UMDialPlan default/contoso\n\
             \x20 field  spec.recordingIdleTimeout\n\
             \x20 value  99\n\
             \x20 rule   2 to 10 seconds\n\
             \x20 fix    write a whole number of seconds from 2 to 10, such as 5"
        );
    }

    #[test]
    fn a_cluster_shows_the_code_that_the_operator_gives() {
        for code in ViolationCode::ALL {
            let (field, value, rule, fix) = Default::default();
            let violation = Violation { field, value, rule, fix, code };
            let object = ObjectRef::new(Kind::UMDialPlan, &Key::new("default", "contoso"));
            assert_eq!(Problem::violation(&object, violation).code.id(), code.id());
        }
    }

    #[test]
    fn in_a_condition_a_problem_is_one_line_and_says_only_what_it_knows() {
        assert_eq!(
            problem().sentence(),
            "UM1006: field spec.recordingIdleTimeout; value 99; rule 2 to 10 seconds; \
             fix write a whole number of seconds from 2 to 10, such as 5"
        );
        let whole = Problem { field: String::new(), value: String::new(), ..problem() };
        assert_eq!(
            whole.sentence(),
            "UM1006: rule 2 to 10 seconds; fix write a whole number of seconds from 2 to 10, such as 5"
        );
    }
}
