/*
 * Which frames are dropped, by whom and why?
 *
 * Usage:   opte-trace opte-drop
 * Columns: RULE: its id, zero if no rule decided; PROTO, LOCAL, REMOTE: the flow, as the guest sees it.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-9s %5s %-6s %-22s %-22s %s\n", "PORT", "DIR", "LAYER", "RULE", "PROTO", "LOCAL", "REMOTE", "REASON")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::drop
{
	printf("%-12s %-4s %-9s %5s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_layer[arg2],
	    lltostr(arg3),
	    arg5 == 0 ? "-" : opte_proto[((opte_key_t *)arg5)->proto],
	    arg5 == 0 ? "-" : opte_local[(opte_key_t *)arg5],
	    arg5 == 0 ? "-" : opte_remote[(opte_key_t *)arg5],
	    stringof((char *)arg4));
	line++;
}

PROV::drop
/line >= 20/
{
	HEAD;
	line = 0;
}
