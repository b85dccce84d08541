/*
 * Who are the top talkers?
 *
 * Usage:   opte-trace opte-top
 * Columns: the twenty flows with most BYTES of frames, every five seconds and at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

PROV::ip-send,
PROV::ip-receive
{
	@bytes[opte_port[(opte_port_t *)arg0],
	    opte_local[&((opte_packet_t *)arg1)->key],
	    opte_remote[&((opte_packet_t *)arg1)->key],
	    opte_proto[((opte_packet_t *)arg1)->key.proto]] =
	    sum(((opte_packet_t *)arg1)->frame_len);
}

tick-5s,
dtrace:::END
{
	trunc(@bytes, 20);
	printf("%-12s %-22s %-22s %-6s %12s\n", "PORT", "LOCAL", "REMOTE", "PROTO", "BYTES");
	printa("%-12s %-22s %-22s %-6s %@12d\n", @bytes);
	trunc(@bytes);
}
