/*
 * Which way do tunnels go?
 *
 * Usage:   opte-trace opte-next-hop
 * Columns: END POINT: the other host; LINK: its number.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-32s %-32s %4s %s\n", "END POINT", "NEXT HOP", "LINK", "RESULT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::next-hop
{
	printf("%-32s %-32s %4d %s\n",
	    opte_ip[(uint8_t *)arg0],
	    opte_ip[(uint8_t *)arg1],
	    arg2,
	    arg3 ? "resolved" : "unresolved");
	line++;
}

PROV::next-hop
/line >= 20/
{
	HEAD;
	line = 0;
}
