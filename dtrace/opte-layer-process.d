/*
 * What does each layer say about a new flow?
 *
 * Usage:   opte-trace opte-layer-process
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it after the layer; RESULT: ok or the drop reason.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-9s %-4s %-6s %-16s %5s %-16s %5s %s\n", "PORT", "LAYER", "DIR", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "RESULT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::layer-process-return
{
	printf("%-12s %-9s %-4s %-6s %-16s %5d %-16s %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_addr[((opte_key_t *)arg3)->local, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->local_port,
	    opte_addr[((opte_key_t *)arg3)->remote, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->remote_port,
	    arg4 == 0 ? "ok" : stringof((char *)arg4));
	line++;
}

PROV::layer-process-return
/line >= 20/
{
	HEAD;
	line = 0;
}
