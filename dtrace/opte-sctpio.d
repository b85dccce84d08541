/*
 * Which SCTP packets do guests send and get?
 *
 * Usage:   opte-trace opte-sctpio
 * Columns: CHUNK: number of the first chunk's type; -> is from the guest.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%3s %16s:%-5s    %16s:%-5s %10s %6s %6s\n", "CPU", "LADDR", "LPORT", "RADDR", "RPORT", "VTAG", "CHUNK", "BYTES")
#define LINE(way) printf("%3d %16s:%-5d %s %16s:%-5d %10x %6d %6d\n", cpu, \
	opte_laddr[(opte_packet_t *)arg1], \
	((opte_packet_t *)arg1)->key.local_port, way, \
	opte_raddr[(opte_packet_t *)arg1], \
	((opte_packet_t *)arg1)->key.remote_port, \
	ntohl(opte_sctp[(opte_packet_t *)arg1]->vtag), \
	opte_sctp[(opte_packet_t *)arg1]->chunk, \
	((opte_packet_t *)arg1)->payload_len); \
	line++

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::sctp-send
{
	LINE("->");
}

PROV::sctp-receive
{
	LINE("<-");
}

PROV::sctp-send,
PROV::sctp-receive
/line >= 20/
{
	HEAD;
	line = 0;
}
