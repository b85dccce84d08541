/*
 * Who asks for whose address by ARP, and who answers?
 *
 * Usage:   opte-trace opte-arp
 * Columns: -> is from the guest, <- for it; OP: request, reply or its number; MAC: the sender's.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s    %-8s %-16s %-17s %s\n", "PORT", "OP", "SENDER", "MAC", "TARGET")
#define ARP opte_arp[(opte_packet_t *)arg1]
#define LINE(way) printf("%-12s %s %-8s %-16s %02x:%02x:%02x:%02x:%02x:%02x %s\n", \
	opte_port[(opte_port_t *)arg0], way, \
	ntohs(ARP->operation) == 1 ? "request" : \
	ntohs(ARP->operation) == 2 ? "reply" : \
	lltostr(ntohs(ARP->operation)), \
	inet_ntoa((ipaddr_t *)ARP->sender), \
	ARP->sender_mac[0], ARP->sender_mac[1], ARP->sender_mac[2], \
	ARP->sender_mac[3], ARP->sender_mac[4], ARP->sender_mac[5], \
	inet_ntoa((ipaddr_t *)ARP->target)); \
	line++

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::arp-send
{
	LINE("->");
}

PROV::arp-receive
{
	LINE("<-");
}

PROV::arp-send,
PROV::arp-receive
/line >= 20/
{
	HEAD;
	line = 0;
}
