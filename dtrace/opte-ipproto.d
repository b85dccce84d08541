/*
 * Who talks to whom over which protocol?
 *
 * Usage:   opte-trace opte-ipproto
 * Columns: COUNT: packets; printed at the end.
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
	@packets[(xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_saddr,
	    (xlate <ipinfo_t>((opte_packet_t *)arg1)).ip_daddr,
	    opte_proto[((opte_packet_t *)arg1)->key.proto]] = count();
}

dtrace:::END
{
	printf("   %-30s %-30s %8s %8s\n", "SADDR", "DADDR", "PROTO", "COUNT");
	printa("   %-30s %-30s %8s %@8d\n", @packets);
}
