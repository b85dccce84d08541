/*
 * How long do guests' TCP connections take to be there?
 *
 * Usage:   opte-trace opte-connlat
 * Columns: nanoseconds from the guest's SYN to ESTABLISHED, by far end; printed at the end.
 * Sample:  dtrace/README
 */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

PROV::tcp-connect-request
{
	start[((opte_packet_t *)arg1)->flow_id] = timestamp;
}

PROV::tcp-connect-established
/start[((opte_packet_t *)arg1)->flow_id]/
{
	@connect_ns[opte_port[(opte_port_t *)arg0],
	    opte_raddr[(opte_packet_t *)arg1]] =
	    quantize(timestamp - start[((opte_packet_t *)arg1)->flow_id]);
	start[((opte_packet_t *)arg1)->flow_id] = 0;
}

PROV::tcp-connect-refused
{
	start[((opte_packet_t *)arg1)->flow_id] = 0;
}

dtrace:::END
{
	printa("port %s to %s: nanoseconds%@d\n", @connect_ns);
}
