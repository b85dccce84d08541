/*
 * Who are the top talkers?
 *
 * Usage:   opte-trace opte-top
 * Columns: the twenty flows with most BYTES of frames, every five seconds and at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::ip-send,
PROV::ip-receive
{
	@talk[opte_port[(opte_port_t *)arg0],
	    opte_laddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.local_port,
	    opte_raddr[(opte_packet_t *)arg1],
	    ((opte_packet_t *)arg1)->key.remote_port,
	    opte_proto[((opte_packet_t *)arg1)->key.proto]] =
	    sum(((opte_packet_t *)arg1)->frame_len);
}

tick-5s,
dtrace:::END
{
	trunc(@talk, 20);
	printf("%-12s %-16s %5s %-16s %5s %-6s %12s\n", "PORT", "LOCAL", "PORT", "REMOTE", "PORT", "PROTO", "BYTES");
	printa("%-12s %-16s %5d %-16s %5d %-6s %@12d\n", @talk);
	trunc(@talk);
}
