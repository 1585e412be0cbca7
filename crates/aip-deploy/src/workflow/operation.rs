//! The operations that change what is deployed, and their words.

use aip_stack::desired::ObjectRef;

#[derive(Clone, Copy)]
pub(crate) enum Operation<'o> {
    Up {
        /// Deploy the last good revision if the rollout fails or times out.
        rollback_on_failure: bool,
        /// Fail with exit code 7 if anything changed.
        expect_no_changes: bool,
    },
    /// An earlier revision is deployed because the operator asked for it.
    Rollback,
    /// The last good revision is deployed because an `up` failed.
    AutoRollback,
    /// A stack is taken over from Pulumi.
    Adopt {
        objects: &'o [ObjectRef],
    },
    /// `keys rotate --auto` deploys keys that it has put into the stack file.
    RotateKeys,
    /// `deps migrate` deploys what moves the database, and then what uses it at its new place.
    MoveDatabase,
    Destroy,
}

/// How an operation is called.
pub(crate) struct OperationLabels {
    /// In lease and history.
    pub command: &'static str,
    /// In the question: `Do you want to perform this update?`
    pub noun: &'static str,
    /// Above progress and result.
    pub heading: &'static str,
}

impl<'o> Operation<'o> {
    pub(crate) fn labels(self) -> OperationLabels {
        let (command, noun, heading) = match self {
            Self::Up { .. } => ("up", "update", "Updating"),
            Self::Rollback | Self::AutoRollback => ("rollback", "rollback", "Rolling back"),
            Self::Adopt { .. } => ("adopt", "adoption", "Adopting"),
            Self::RotateKeys => ("keys rotate", "key rotation", "Rotating keys"),
            Self::MoveDatabase => ("deps migrate", "move", "Moving the database"),
            Self::Destroy => ("destroy", "destroy", "Destroying"),
        };
        OperationLabels {
            command,
            noun,
            heading,
        }
    }

    pub(crate) fn preview_heading(self) -> String {
        format!("Previewing {}", self.labels().noun)
    }

    /// The objects that Pulumi made, if they are adopted.
    pub(crate) fn adopted(self) -> Option<&'o [ObjectRef]> {
        match self {
            Self::Adopt { objects } => Some(objects),
            Self::Up { .. }
            | Self::Rollback
            | Self::AutoRollback
            | Self::RotateKeys
            | Self::MoveDatabase
            | Self::Destroy => None,
        }
    }

    /// Whether a rollout that fails is followed by [`Operation::AutoRollback`].
    pub(crate) fn rolls_back_on_failure(self) -> bool {
        matches!(
            self,
            Self::Up {
                rollback_on_failure: true,
                ..
            }
        )
    }

    /// Whether changes are an error.
    pub(crate) fn expects_no_changes(self) -> bool {
        matches!(
            self,
            Self::Up {
                expect_no_changes: true,
                ..
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_up_that_asks_for_it_rolls_back_or_expects_no_changes() {
        let up = |rollback_on_failure, expect_no_changes| Operation::Up {
            rollback_on_failure,
            expect_no_changes,
        };
        assert!(up(true, false).rolls_back_on_failure());
        assert!(!up(true, false).expects_no_changes());
        assert!(up(false, true).expects_no_changes());
        let others = [
            Operation::Rollback,
            Operation::AutoRollback,
            Operation::Adopt { objects: &[] },
            Operation::RotateKeys,
            Operation::MoveDatabase,
            Operation::Destroy,
        ];
        for other in others {
            assert!(!other.rolls_back_on_failure() && !other.expects_no_changes());
        }
    }

    #[test]
    fn lease_and_history_name_the_command() {
        assert_eq!(Operation::AutoRollback.labels().command, "rollback");
        assert_eq!(Operation::Destroy.preview_heading(), "Previewing destroy");
        assert!(Operation::Adopt { objects: &[] }.adopted().is_some());
        assert!(Operation::Rollback.adopted().is_none());
    }
}
