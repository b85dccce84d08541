/*
 * Names of IP protocols, by number.
 */
inline string opte_proto[uint8_t n] =
	n == 1 ? "ICMP" :
	n == 2 ? "IGMP" :
	n == 4 ? "IPIP" :
	n == 6 ? "TCP" :
	n == 17 ? "UDP" :
	n == 41 ? "IPv6" :
	n == 47 ? "GRE" :
	n == 50 ? "ESP" :
	n == 51 ? "AH" :
	n == 58 ? "ICMPv6" :
	n == 112 ? "VRRP" :
	n == 132 ? "SCTP" :
	lltostr(n);
