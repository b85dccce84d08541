/*
 * Which frames can't be parsed, and why?
 *
 * Usage:   opte-trace opte-bad-packet
 * Columns: BYTES of the frame that are there, TYPE its ethertype in hexadecimal, ERROR the drop reason.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-16s %-4s %6s %6s %s\n", "PORT", "DIR", "BYTES", "TYPE", "ERROR")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::bad-packet
{
	printf("%-16s %-4s %6d %6x %s\n",
	    opte_port[(opte_port_t *)arg0],
	    opte_dir[arg1],
	    arg3,
	    arg3 < 14 ? 0 : ntohs(((opte_ether_t *)arg2)->type),
	    opte_text[arg4]);
	line++;
}

PROV::bad-packet
/line >= 20/
{
	HEAD;
	line = 0;
}
