/*
 * Which changes of the configuration are made or refused?
 *
 * Usage:   opte-trace opte-config
 * Columns: PORT: what it was about; RESULT: ok or refused.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-16s %10s %s\n", "PORT", "GENERATION", "RESULT")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::config-change
{
	printf("%-16s %10d %s\n",
	    arg0 == 0 ? "-" : ((opte_name_t *)arg0)->text,
	    arg1,
	    arg2 == 0 ? "ok" : "refused");
	line++;
}

PROV::config-change
/line >= 20/
{
	HEAD;
	line = 0;
}
