//! What Umbriel must do wherever it runs, as one list for every world.
//!
//! Decides the steps and what is expected. Refuses to know the world: a scenario sees a
//! [`Site`], which the standalone program and a cluster both are.

mod faults;
mod routing;
mod voice;

use crate::has;
use crate::mail::AIOSMTPD;
use crate::site::Site;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What holds.
    pub name: &'static str,
    /// Programs beside Umbriel: who calls, and who takes the mail.
    pub needs: &'static [&'static str],
    /// Shows it, or panics.
    pub run: fn(&dyn Site),
}

impl Scenario {
    /// Whether this machine has what it needs. Where it has not, says that it is skipped.
    #[must_use]
    pub fn is_able(&self) -> bool {
        self.needs.iter().all(|program| has(program, self.name))
    }

    /// Whether its messages are to leave by SMTP.
    #[must_use]
    pub fn mails(&self) -> bool {
        self.needs.contains(&AIOSMTPD)
    }
}

/// The list, handed to a macro of the caller's: module, name, and the programs that it needs.
#[macro_export]
macro_rules! every_scenario {
    ($do:ident) => {
        $do! {
            voice::twenty_sipp_callers_over_udp_leave_mu_law_messages ["sipp", $crate::mail::AIOSMTPD],
            voice::twenty_sipp_callers_over_tcp_leave_a_law_messages ["sipp", $crate::mail::AIOSMTPD],
            voice::baresip_over_udp_leaves_a_mu_law_message ["baresip", $crate::mail::AIOSMTPD],
            voice::baresip_over_tcp_leaves_an_a_law_message ["baresip", $crate::mail::AIOSMTPD],
            routing::a_diverted_call_is_for_who_diverted_it_and_the_mail_says_why [$crate::mail::AIOSMTPD],
            routing::a_user_is_found_by_sip_address_by_e164_number_and_through_another_dial_plan [],
            routing::an_access_number_leads_to_a_mailbox_server_that_says_what_it_cannot_do [],
            routing::a_pilot_of_an_auto_attendant_leads_to_a_mailbox_server_that_says_what_it_cannot_do [],
            routing::a_caller_who_is_a_user_is_shown_by_name_and_an_anonymous_one_may_be_refused [$crate::mail::AIOSMTPD],
            faults::a_malformed_file_and_a_wrong_value_are_named_and_what_was_there_serves [],
            faults::a_dangling_reference_harms_only_its_own_object [],
            faults::an_unknown_caller_is_refused_by_router_and_mailbox_server [],
            faults::a_call_for_nobody_is_refused_with_404_and_a_number_of_another_length_with_484 [],
            faults::noise_gets_no_answer_and_harms_nobody [],
            faults::an_edit_reaches_the_wire [],
        }
    };
}

macro_rules! list {
    ($($module:ident :: $name:ident [$($program:expr),*],)*) => {
        /// Every scenario.
        pub const ALL: &[Scenario] = &[$(
            Scenario { name: stringify!($name), needs: &[$($program),*], run: $module::$name },
        )*];
    };
}

every_scenario!(list);
