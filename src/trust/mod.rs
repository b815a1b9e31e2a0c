//! Keys, signed metadata, certificates, enrolment.
