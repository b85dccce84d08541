/*
 * Which rule decides about a flow?
 *
 * Usage:   opte-trace opte-rule-match
 * Columns: PROTO, LOCAL, REMOTE: the flow, as the guest sees it; RULE: its id.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-9s %-4s %-6s %-16s %5s %-16s %5s %5s %s\n", "PORT", "LAYER", "DIR", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "RULE", "ACTION")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::rule-match
{
	printf("%-12s %-9s %-4s %-6s %-16s %5d %-16s %5d %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_addr[((opte_key_t *)arg3)->local, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->local_port,
	    opte_addr[((opte_key_t *)arg3)->remote, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->remote_port,
	    arg4,
	    "allow");
	line++;
}

PROV::rule-deny
{
	printf("%-12s %-9s %-4s %-6s %-16s %5d %-16s %5d %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_addr[((opte_key_t *)arg3)->local, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->local_port,
	    opte_addr[((opte_key_t *)arg3)->remote, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->remote_port,
	    arg4,
	    "deny");
	line++;
}

PROV::rule-no-match
{
	printf("%-12s %-9s %-4s %-6s %-16s %5d %-16s %5d %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_layer[arg1],
	    opte_dir[arg2],
	    opte_proto[((opte_key_t *)arg3)->proto],
	    opte_addr[((opte_key_t *)arg3)->local, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->local_port,
	    opte_addr[((opte_key_t *)arg3)->remote, ((opte_key_t *)arg3)->family],
	    ((opte_key_t *)arg3)->remote_port,
	    0,
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
