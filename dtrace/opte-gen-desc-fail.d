/*
 * Which stateful actions don't get their resource (an external port)?
 *
 * Usage:   opte-trace opte-gen-desc-fail
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; REASON: the drop reason.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-9s %-4s %-6s %-16s %5s %-16s %5s %s\n", "PORT", "LAYER", "DIR", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "REASON")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::gen-desc-fail
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
	    opte_text[arg4]);
	line++;
}

PROV::gen-desc-fail
/line >= 20/
{
	HEAD;
	line = 0;
}
