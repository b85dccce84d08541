/*
 * Which ICMP messages do guests send and get, and what do errors quote?
 *
 * Usage:   opte-trace opte-icmpio
 * Columns: -> is from the guest, <- for it; SADDR sends; TYPE, CODE as numbers; behind an error the packet that it quotes.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s    %-16s %-16s %4s %4s  %s\n", "PORT", "SADDR", "DADDR", "TYPE", "CODE", "QUOTED")
#define PACKET ((opte_packet_t *)arg1)
#define TYPE opte_icmp[PACKET]->type
/* RFC 792 has five errors; of ICMPv6 all types below 128 are (RFC 4443). */
#define IS_ERROR (PACKET->key.family == 6 ? TYPE < 128 : \
	TYPE == 3 || TYPE == 4 || TYPE == 5 || TYPE == 11 || TYPE == 12)
#define QUOTED4 ((opte_ipv4_t *)(PACKET->frame + PACKET->transport + 8))
#define QUOTED6 ((opte_ipv6_t *)(PACKET->frame + PACKET->transport + 8))
#define LINE(way) printf("%-12s %s %-16s %-16s %4d %4d  %s%s%s%s%s\n", \
	opte_port[(opte_port_t *)arg0], way, \
	opte_addr[PACKET->src, PACKET->key.family], \
	opte_addr[PACKET->dst, PACKET->key.family], \
	TYPE, opte_icmp[PACKET]->code, \
	!(IS_ERROR) ? "-" : PACKET->key.family == 6 ? \
	    opte_proto[QUOTED6->nexthdr] : opte_proto[QUOTED4->protocol], \
	IS_ERROR ? " " : "", \
	!(IS_ERROR) ? "" : PACKET->key.family == 6 ? \
	    inet_ntoa6((in6_addr_t *)QUOTED6->src) : inet_ntoa((ipaddr_t *)&QUOTED4->src), \
	IS_ERROR ? " > " : "", \
	!(IS_ERROR) ? "" : PACKET->key.family == 6 ? \
	    inet_ntoa6((in6_addr_t *)QUOTED6->dst) : inet_ntoa((ipaddr_t *)&QUOTED4->dst)); \
	line++

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::icmp-send
{
	LINE("->");
}

PROV::icmp-receive
{
	LINE("<-");
}

PROV::icmp-send,
PROV::icmp-receive
/line >= 20/
{
	HEAD;
	line = 0;
}
