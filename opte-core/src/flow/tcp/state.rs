//! The states of a connection.

/// State of the guest's end of a connection (RFC 9293 section 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Nothing, or all is over.
    Closed = 0,
    /// The far end has asked; the guest has not answered.
    Listen = 1,
    /// The guest has asked.
    SynSent = 2,
    /// The guest has answered the far end's SYN.
    SynReceived = 3,
    /// Both directions are open.
    Established = 4,
    /// The guest has closed its direction.
    FinWait1 = 5,
    /// The guest's close is acknowledged.
    FinWait2 = 6,
    /// The far end has closed its direction.
    CloseWait = 7,
    /// Both closed at once; the guest's close isn't acknowledged.
    Closing = 8,
    /// The guest has closed after the far end.
    LastAck = 9,
    /// Both closes are acknowledged.
    TimeWait = 10,
    /// One side has reset the connection.
    Reset = 11,
}

impl State {
    /// Every state, in numeric order.
    pub const ALL: [Self; 12] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
        Self::Reset,
    ];

    /// The state's number in probes.
    #[must_use]
    #[inline]
    #[expect(clippy::as_conversions, reason = "the variant's own number")]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state's one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Reset => "RESET",
        }
    }

    /// Whether a new connection may take this one's place at once.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::TimeWait | Self::Reset)
    }
}
