//! The states of a connection.

use crate::numbered::numbered;

numbered! {
    /// State of the guest's end of a connection (RFC 9293 section 3.3.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum State {
        /// Nothing, or all is over.
        Closed = 0 "CLOSED",
        /// The far end has asked; the guest has not answered.
        Listen = 1 "LISTEN",
        /// The guest has asked.
        SynSent = 2 "SYN_SENT",
        /// The guest has answered the far end's SYN.
        SynReceived = 3 "SYN_RECEIVED",
        /// Both directions are open.
        Established = 4 "ESTABLISHED",
        /// The guest has closed its direction.
        FinWait1 = 5 "FIN_WAIT_1",
        /// The guest's close is acknowledged.
        FinWait2 = 6 "FIN_WAIT_2",
        /// The far end has closed its direction.
        CloseWait = 7 "CLOSE_WAIT",
        /// Both closed at once; the guest's close isn't acknowledged.
        Closing = 8 "CLOSING",
        /// The guest has closed after the far end.
        LastAck = 9 "LAST_ACK",
        /// Both closes are acknowledged.
        TimeWait = 10 "TIME_WAIT",
        /// One side has reset the connection.
        Reset = 11 "RESET",
    }
}

impl State {
    /// Whether a new connection may take this one's place at once.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::TimeWait | Self::Reset)
    }
}
