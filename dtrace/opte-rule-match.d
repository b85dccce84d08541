/*
 * Which rule decides about a flow?
 *
 * Usage:   opte-trace opte-rule-match
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; RULE: its id.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-9s %-4s %-6s %-22s %-22s %5s %s\n", "PORT", "LAYER", "DIR", "PROTO", "LOCAL", "REMOTE", "RULE", "ACTION")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::rule-match
{
	printf("%-12s %-9s %-4s %-6s %-22s %-22s %5s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_local[(opte_key_t *)arg3],
	    opte_remote[(opte_key_t *)arg3],
	    lltostr(arg4),
	    "allow");
	line++;
}

PROV::rule-deny
{
	printf("%-12s %-9s %-4s %-6s %-22s %-22s %5s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_local[(opte_key_t *)arg3],
	    opte_remote[(opte_key_t *)arg3],
	    lltostr(arg4),
	    "deny");
	line++;
}

PROV::rule-no-match
{
	printf("%-12s %-9s %-4s %-6s %-22s %-22s %5s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_local[(opte_key_t *)arg3],
	    opte_remote[(opte_key_t *)arg3],
	    "-",
	    "default");
	line++;
}

PROV::rule-match,
PROV::rule-deny,
PROV::rule-no-match
/line >= 20/
{
	HEAD;
	line = 0;
}
