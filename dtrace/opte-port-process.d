/*
 * What happens to every frame?
 *
 * Usage:   opte-trace opte-port-process
 * Columns: PATH: hit, miss or none; PROTO, LOCAL, REMOTE: the flow, as the guest sees it; RESULT: ok or the drop reason.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-5s %-6s %-22s %-22s %s\n", "PORT", "DIR", "PATH", "PROTO", "LOCAL", "REMOTE", "RESULT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::port-process-return
{
	printf("%-12s %-4s %-5s %-6s %-22s %-22s %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_path[arg4],
	    arg2 == 0 ? "-" : opte_proto[((opte_key_t *)arg2)->proto],
	    arg2 == 0 ? "-" : opte_local[(opte_key_t *)arg2],
	    arg2 == 0 ? "-" : opte_remote[(opte_key_t *)arg2],
	    arg5 == 0 ? "ok" : stringof((char *)arg5));
	line++;
}

PROV::port-process-return
/line >= 20/
{
	HEAD;
	line = 0;
}
