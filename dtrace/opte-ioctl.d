/*
 * Which commands come, and how long do they take?
 *
 * Usage:   opte-trace opte-ioctl
 * Columns: US: microseconds; ERROR: zero, or the error's code.
 * Sample:  dtrace/README
 */
#pragma D option quiet

#define HEAD printf("%-20s %7s %7s %9s %6s\n", "COMMAND", "REQUEST", "ANSWER", "US", "ERROR")

dtrace:::BEGIN
{
	HEAD;
	line = 0;
}

PROV::ioctl-entry
{
	self->start = timestamp;
	self->request = arg2;
}

PROV::ioctl-return
/self->start/
{
	printf("%-20s %7d %7d %9d %6d\n", opte_text[arg1], self->request, arg3,
	    (timestamp - self->start) / 1000, arg2);
	line++;
	self->start = 0;
	self->request = 0;
}

PROV::ioctl-return
/line >= 20/
{
	HEAD;
	line = 0;
}
