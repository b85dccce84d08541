/*
 * Which stateful actions don't get their resource (an external port)?
 *
 * Usage:   opte-trace opte-gen-desc-fail
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; REASON: the drop reason.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-9s %-4s %-6s %-22s %-22s %s\n", "PORT", "LAYER", "DIR", "PROTO", "LOCAL", "REMOTE", "REASON")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::gen-desc-fail
{
	printf("%-12s %-9s %-4s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_local[(opte_key_t *)arg3],
	    opte_remote[(opte_key_t *)arg3],
	    opte_text[arg4]);
	line++;
}

PROV::gen-desc-fail
/line >= 20/
{
	HEAD;
	line = 0;
}
