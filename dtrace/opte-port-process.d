/*
 * What happens to every frame?
 *
 * Usage:   opte-trace opte-port-process
 * Columns: PATH: hit, miss or none; PROTO, LOCAL, REMOTE: the flow, as the guest sees it; RESULT: ok or the drop reason.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-12s %-4s %-5s %-6s %-16s %5s %-16s %5s %s\n", "PORT", "DIR", "PATH", "PROTO", "LOCAL", "PORT", "REMOTE", "PORT", "RESULT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::port-process-return
{
	printf("%-12s %-4s %-5s %-6s %-16s %5d %-16s %5d %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    opte_path[arg4],
	    arg2 == 0 ? "-" : opte_proto[((opte_key_t *)arg2)->proto],
	    arg2 == 0 ? "-" : opte_addr[((opte_key_t *)arg2)->local, ((opte_key_t *)arg2)->family],
	    arg2 == 0 ? 0 : ((opte_key_t *)arg2)->local_port,
	    arg2 == 0 ? "-" : opte_addr[((opte_key_t *)arg2)->remote, ((opte_key_t *)arg2)->family],
	    arg2 == 0 ? 0 : ((opte_key_t *)arg2)->remote_port,
	    arg5 == 0 ? "ok" : stringof((char *)arg5));
	line++;
}

PROV::port-process-return
/line >= 20/
{
	HEAD;
	line = 0;
}
