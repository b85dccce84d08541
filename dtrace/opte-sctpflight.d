/*
 * How much do guests' SCTP associations have in flight, and how long are round trips?
 *
 * Usage:   opte-trace opte-sctpflight
 * Columns: a line for each SACK for the guest. FLIGHT: DATA chunks that aren't acknowledged yet; MOST: the
 *          most so far, which the guest's congestion window allowed; RWND: bytes that the far end has room
 *          for; RTT: from a chunk to its SACK, one chunk at a time, as seen here.
 * Sample:  dtrace/README
 *
 * Of a packet's chunks it looks at the first two, and of the bundled DATA chunks
 * of one packet it knows the first.
 */
#pragma D option quiet

#define HEAD printf("%-16s %5s %-16s %5s %6s %6s %8s %8s\n", "LADDR", "LPORT", "RADDR", "RPORT", "FLIGHT", "MOST", "RWND", "RTT(us)")
#define PACKET ((opte_packet_t *)arg1)
#define ID PACKET->flow_id
#define BYTE(at) (*(uint8_t *)(at))
#define SHORT(at) ntohs(*(uint16_t *)(at))
#define LONG(at) ntohl(*(uint32_t *)(at))
#define DATA 0
#define SACK 3
/* Where the first two chunks are; a chunk's length leaves out its padding. */
#define FIRST (PACKET->frame + PACKET->transport + 12)
#define SECOND (FIRST + ((SHORT(FIRST + 2) + 3) & 0xfffc))
#define HAS_SECOND (SECOND - FIRST + 12 + 16 <= PACKET->payload_len)
#define CHUNK(type) (BYTE(FIRST) == (type) ? FIRST : \
	HAS_SECOND && BYTE(SECOND) == (type) ? SECOND : 0)

dtrace:::BEGIN
{
	HEAD;
	line = 0;
	/* By association: the highest number sent and the last acknowledged. */
	highest[(uint64_t)0] = (uint32_t)0;
	acked[(uint64_t)0] = (uint32_t)0;
	known[(uint64_t)0] = 0;
	most[(uint64_t)0] = 0;
	/* The chunk that is timed, and since when; zero if none is. */
	timed[(uint64_t)0] = (uint32_t)0;
	timed_at[(uint64_t)0] = (uint64_t)0;
}

PROV::sctp-send
{
	this->data = CHUNK(DATA);
	this->tsn = this->data == 0 ? 0 : LONG(this->data + 4);
	this->is_new = this->data != 0 &&
	    (!known[ID] || (int)(this->tsn - highest[ID]) > 0);
}

/* What is sent again says nothing about round trips. */
PROV::sctp-send
/this->data != 0 && !this->is_new/
{
	timed_at[ID] = 0;
}

PROV::sctp-send
/this->is_new && timed_at[ID] == 0/
{
	timed[ID] = this->tsn;
	timed_at[ID] = timestamp;
}

PROV::sctp-send
/this->is_new && !known[ID]/
{
	known[ID] = 1;
	acked[ID] = this->tsn - 1;
}

PROV::sctp-send
/this->is_new/
{
	highest[ID] = this->tsn;
	this->flight = (int)(this->tsn - acked[ID]);
	most[ID] = this->flight > most[ID] ? this->flight : most[ID];
}

PROV::sctp-receive
{
	this->sack = CHUNK(SACK);
	this->is_known = this->sack != 0 && known[ID];
}

PROV::sctp-receive
/this->is_known/
{
	acked[ID] = LONG(this->sack + 4);
	this->flight = (int)(highest[ID] - acked[ID]);
	this->flight = this->flight < 0 ? 0 : this->flight;
	this->rtt = timed_at[ID] != 0 && (int)(acked[ID] - timed[ID]) >= 0 ?
	    (timestamp - timed_at[ID]) / 1000 : 0;
	timed_at[ID] = this->rtt != 0 ? 0 : timed_at[ID];
	printf("%-16s %5d %-16s %5d %6d %6d %8d %8s\n",
	    opte_laddr[PACKET], PACKET->key.local_port,
	    opte_raddr[PACKET], PACKET->key.remote_port,
	    this->flight, most[ID], LONG(this->sack + 8),
	    this->rtt != 0 ? lltostr(this->rtt) : "-");
	line++;
}

PROV::sctp-receive
/line >= 20/
{
	HEAD;
	line = 0;
}
