/*
 * Which frames are dropped, by whom and why?
 *
 * Usage:   opte-trace opte-drop
 * Columns: RULE: its id, zero if no rule decided; PROTO, LOCAL, REMOTE: the flow, as the guest sees it.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-9s %5s %-6s %-16s %5s %-16s %5s %s\n", "PORT", "DIR", "LAYER", "RULE", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "REASON")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::drop
{
	printf("%-12s %-4s %-9s %5d %-6s %-16s %5d %-16s %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_layer[arg2],
	    arg3,
	    arg5 == 0 ? "-" : opte_proto[((opte_key_t *)arg5)->proto],
	    arg5 == 0 ? "-" : opte_addr[((opte_key_t *)arg5)->local, ((opte_key_t *)arg5)->family],
	    arg5 == 0 ? 0 : ((opte_key_t *)arg5)->local_port,
	    arg5 == 0 ? "-" : opte_addr[((opte_key_t *)arg5)->remote, ((opte_key_t *)arg5)->family],
	    arg5 == 0 ? 0 : ((opte_key_t *)arg5)->remote_port,
	    stringof((char *)arg4));
	line++;
}

PROV::drop
/line >= 20/
{
	HEAD;
	line = 0;
}
