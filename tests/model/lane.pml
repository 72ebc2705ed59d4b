/*
 * lane.pml: the lane protocol, for Spin.
 *
 * One partition, two lanes of which one may be a zombie, Redis, PostgreSQL,
 * the log, the clock.  A step is cut as in processor/lane/: what one script,
 * one transaction or one answer of Kafka does at once.  Between two steps of
 * a lane anything else may happen.  The steps are named after the functions
 * of processor/lane/ that take them.
 *
 * A window is a number and its size 1, and so is the allowed lateness: window
 * w is due at time w + 2.  A file is one bit, a key is window * 2 + file.
 *
 * test_lane.py gives the scenarios as SCENARIOS, of which the environment's
 * SCENARIO picks one: a log, how much of it is there and how late it is when
 * all begins, and how many of each fault may happen.  It takes rules of the
 * protocol away by NO_<RULE>.  A rule whose absence changes nothing here would
 * be a superstition; the test holds that there is none.
 *
 * Promised: what is asserted in check_*(); and that the work is finished
 * whenever nothing can happen any more, after whatever faults.
 */

#define NONE     255
#define RECORDS  4
#define WINDOWS  4
#define KEYS     8
#define KEY(w, f)  ((w) * 2 + (f))

/* a window before the first: windows are counted from 1 here */
#define BEFORE   0

#define DUE(w)     ((w) + 2)
#define MAX(a, b)  ((a) > (b) -> (a) : (b))

typedef Record {
    byte  window;
    byte  file;
    bool  straggler;             /* breaks what the brokers' clock promises */
    bool  named;                 /* of these one counts; all are of one file */
    bool  twin                   /* these are one record, in the log twice */
};

/* Redis' keys.  kept: counts of closed windows that have not expired. */
typedef Partition {
    bool  has;                   /* progress */
    byte  next;
    byte  closed;
    byte  watermark;
    byte  open;                  /* bits */
    byte  count[KEYS];
    byte  kept[KEYS];
    byte  ledger                 /* PostgreSQL's, at the last apply */
};

/* PostgreSQL.  A row is there when its count is. */
typedef Tables {
    byte  closed;
    byte  next;
    byte  count[KEYS];
    byte  through[KEYS];
    bool  final[KEYS];
    byte  holder;                /* first_seen: offset + 1 of the one record
                                    with a name that counts */
    byte  uploads;               /* bits of offsets, of those with names: the
                                    others go through no ledger here */
    byte  place;                 /* uploads: offset + 1 of the twin in it */
    byte  ledger                 /* ledger_next */
};

mtype = { gone, out, taking, on };                       /* a lane's phase */
mtype = { free, written, looking, write_behind, released, sent_on,
          late_behind, flushing, checking, committing, forgetting, asking,
          clocking };                                    /* what it is amid */

typedef Lane {
    mtype  phase;
    mtype  busy;
    byte   pos;                  /* of the reader */
    byte   next;                 /* belief; NONE: Redis has no state */
    byte   closed;
    byte   closed_next;
    byte   ledger;
    byte   watermark;
    byte   open;
    byte   dirty;                /* bits of keys */
    byte   idle;                 /* the end was reached at this time, or 0 */
    byte   what;                 /* the time asked at, an offset, a key */
    byte   read;                 /* count of that key, read for a flush */
    byte   closing;              /* a window, with other steps between pages */
    byte   at;                   /* next that its pages are of, or NONE: it is
                                    due by the log and can't change any more */
    byte   page;                 /* a file */
    byte   pages[2];
    byte   close_from            /* no close while next is below it */
};

Record     log[RECORDS];
Partition  redis, older;
Tables     tables, oldtables;
Lane       lane[2];
byte    records, last;           /* of the log: how many, greatest window */
byte    owner = NONE, tail, clock;
byte    sent;                    /* bits of offsets sent on as late */
bool    have_older, have_oldtables, prompt = true;
byte    crashes, steals, flushes, rollbacks, losses, retries, expiries;
byte    scenario;
bool    finished;
byte    k, o, n, m;              /* of a step; zero between steps */
bool    yes;

#define THE_LAST  DUE(last)


/* ---- what holds at all times --------------------------------------------- */

/* A record counts nowhere: it was sent on, another has its name, or it counts
 * from another place. */
#define APART(o)                                                              \
    (((sent >> o) & 1) == 1 || (log[o].named && tables.holder != o + 1) ||    \
     (log[o].twin && tables.place != o + 1))
#define IN_UPLOADS(o)  (((tables.uploads >> o) & 1) == 1)

/* After each change of the tables. */
inline check_tables()
{
    k = 0;
    do
    :: k < KEYS ->
        if
        :: k / 2 >= 1 && k / 2 <= tables.closed ->
            /* no open row in a closed window, and all that was read before
             * next is in its rows or was sent on */
            assert(tables.count[k] == 0 || tables.final[k]);
            n = 0;
            m = 0;
            o = 0;
            do
            :: o < records && o < tables.next ->
                if
                :: KEY(log[o].window, log[o].file) == k ->
                    n++;
                    m = m + (APART(o) -> 1 : 0);
                    assert(!log[o].named || IN_UPLOADS(o) == !APART(o))
                :: else
                fi;
                o++
            :: else -> break
            od;
            assert(tables.count[k] + m == n)
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0; o = 0; n = 0; m = 0
}

inline check_sent()
{
    assert(!(prompt && sent != 0))
}

/* Nothing happens any more. */
inline check_finished()
{
    assert(tail == records && clock == THE_LAST);
    k = 0;
    do
    :: k < KEYS ->
        n = 0;
        m = 0;
        o = 0;
        do
        :: o < records ->
            if
            :: KEY(log[o].window, log[o].file) == k ->
                n++;
                m = m + (APART(o) -> 1 : 0);
                assert(!log[o].named || IN_UPLOADS(o) == !APART(o));
                /* a record that was sent on holds no name, and one that was
                 * not has another that does */
                assert(tables.holder != o + 1 || ((sent >> o) & 1) == 0);
                assert(!log[o].named || tables.holder != 0 ||
                       ((sent >> o) & 1) == 1);
                /* what counts was sent on from neither place */
                assert(!log[o].twin ||
                       (tables.place != 0) == (((sent >> o) & 1) == 0))
            :: else
            fi;
            o++
        :: else -> break
        od;
        assert(tables.count[k] + m == n);
        assert(tables.count[k] == 0 || tables.final[k]);
        k++
    :: else -> break
    od
}


/* ---- Redis and PostgreSQL ------------------------------------------------ */

#define BELIEVES(i)                                                           \
    (redis.has && lane[i].next != NONE && redis.next == lane[i].next && \
     redis.closed == lane[i].closed)

/* before a script changes the state */
inline redis_changes()
{
    if
    :: rollbacks > 0 -> copy_state(redis, older); have_older = true
    :: else -> have_older = false
    fi
}

inline copy_state(from, to)
{
    to.has = from.has;
    to.next = from.next;
    to.closed = from.closed;
    to.watermark = from.watermark;
    to.open = from.open;
    to.ledger = from.ledger;
    k = 0;
    do
    :: k < KEYS ->
        to.count[k] = from.count[k];
        to.kept[k] = from.kept[k];
        k++
    :: else -> break
    od;
    k = 0
}

inline copy_tables(from, to)
{
    to.closed = from.closed;
    to.next = from.next;
    to.holder = from.holder;
    to.uploads = from.uploads;
    to.place = from.place;
    to.ledger = from.ledger;
    k = 0;
    do
    :: k < KEYS ->
        to.count[k] = from.count[k];
        to.through[k] = from.through[k];
        to.final[k] = from.final[k];
        k++
    :: else -> break
    od;
    k = 0
}

/* progress and open go; what is kept is not found through them */
inline state_drop()
{
    redis.has = false;
    redis.next = 0;
    redis.closed = 0;
    redis.watermark = 0;
    redis.open = 0;
    redis.ledger = 0;
    k = 0;
    do
    :: k < KEYS -> redis.count[k] = 0; k++
    :: else -> break
    od;
    k = 0
}

/* closed.lua: windows up to w leave the state, their keys stay a while */
inline state_close(w)
{
    k = 0;
    do
    :: k < KEYS ->
        if
        :: k / 2 <= w ->
            redis.kept[k] = (redis.count[k] > 0 -> redis.count[k]
                                                : redis.kept[k]);
            redis.count[k] = 0;
            redis.open = redis.open & ~(1 << (k / 2))
        :: else
        fi;
        k++
    :: else -> break
    od;
    redis.closed = w;
    k = 0
}

inline tables_change()
{
    if
    :: losses > 0 -> copy_tables(tables, oldtables); have_oldtables = true
    :: else -> have_oldtables = false
    fi
}

/* rows_write(), rows_write_final(): a row of what lane i has read; counts must
 * not go back, final rows not move */
inline rows_upsert(i, is_final, key, got)
{
    yes = got > 0;
    if
#ifndef NO_FINAL
    :: yes && tables.final[key] -> yes = false
#endif
#ifndef NO_THROUGH
    :: yes && !is_final && tables.count[key] > 0 &&
       tables.through[key] > lane[i].next -> yes = false
#endif
    :: else
    fi;
    if
    :: yes ->
        assert(!tables.final[key] ||
               (is_final && tables.count[key] == got &&
                tables.through[key] == lane[i].next));
        assert(got >= tables.count[key]);
        tables.count[key] = got;
        tables.through[key] = lane[i].next;
        tables.final[key] = is_final
    :: else
    fi;
    yes = false
}


/* ---- a lane's steps ------------------------------------------------------ */

inline lane_rest(i)
{
    lane[i].busy = free;
    lane[i].what = 0;
    lane[i].read = 0
}

inline close_end(i)
{
    lane[i].closing = 0;
    lane[i].at = 0;
    lane[i].page = 0;
    lane[i].pages[0] = 0;
    lane[i].pages[1] = 0
}

inline lane_reset(i, to)
{
    lane_rest(i);
    close_end(i);
    lane[i].close_from = 0;
    lane[i].phase = to;
    lane[i].pos = 0;
    lane[i].next = NONE;
    lane[i].closed = 0;
    lane[i].closed_next = 0;
    lane[i].ledger = 0;
    lane[i].watermark = 0;
    lane[i].open = 0;
    lane[i].dirty = 0;
    lane[i].idle = 0
}

/* RC_FENCED: the owner takes the partition again, a zombie learns it is one */
inline lane_fenced(i)
{
    if
    :: owner == i -> lane_reset(i, out)
    :: else -> lane_reset(i, gone)
    fi
}

/* take.c: first PostgreSQL's word, then Redis' state */
inline take_progress(i)
{
    lane_reset(i, taking);
    lane[i].closed = tables.closed;
    lane[i].closed_next = tables.next;
    lane[i].ledger = tables.ledger
}

inline take_state(i)
{
    if
#ifndef NO_PG_LOST
    :: redis.has && redis.closed > lane[i].closed ->
        redis_changes();
        state_drop()
#endif
#ifndef NO_LEDGER_TAKE
    :: redis.has && redis.ledger > lane[i].ledger ->
        redis_changes();
        state_drop()
#endif
#ifndef NO_SETTLE
    :: redis.has && redis.closed < lane[i].closed &&
       redis.next > lane[i].closed_next ->
        redis_changes();
        state_drop()
#endif
    :: else ->
        if
        :: redis.has && redis.closed < lane[i].closed ->
            redis_changes();
            state_close(lane[i].closed)
        :: else
        fi
    fi;
    lane[i].phase = on;
    if
    :: redis.has ->
        lane[i].pos = redis.next;
        lane[i].next = redis.next;
        lane[i].watermark = redis.watermark;
        lane[i].open = redis.open;
        k = 0;
        do
        :: k < KEYS ->
            if
            :: redis.count[k] > 0 -> lane[i].dirty = lane[i].dirty | (1 << k)
            :: else
            fi;
            k++
        :: else -> break
        od;
        k = 0
    :: else ->
        take_offset(i)
    fi
}

inline take_offset(i)
{
    o = tail;
#ifndef NO_START_TIME
    o = 0;
    do
    :: o < tail && log[o].window <= lane[i].closed -> o++
    :: else -> break
    od;
#endif
    if
    :: lane[i].closed == BEFORE -> o = 0
    :: else ->
#if !defined(NO_START_NEXT) || defined(NO_START_TIME)
        o = (o < lane[i].closed_next -> o : lane[i].closed_next)
#else
        skip
#endif
    fi;
    lane[i].pos = o;
    o = 0
}

/* verdict_next(): n is 0 count, 1 late, 2 past */
inline verdict(i)
{
    if
    :: log[lane[i].pos].window <= lane[i].closed ->
#ifndef NO_PAST
        n = (lane[i].pos < lane[i].closed_next -> 2 : 1)
#else
        n = 1
#endif
#ifndef NO_PREFIX_LATE
    :: log[lane[i].pos].window > lane[i].closed &&
       lane[i].watermark != 0 &&
       DUE(log[lane[i].pos].window) <= lane[i].watermark ->
        n = (lane[i].pos < lane[i].closed_next -> 2 : 1)
#endif
    :: else -> n = 0
    fi
}

/* ledger_write(): names are claimed and uploads written, in one statement.  n
 * is 3 then for a record whose name is another's, or that counts from another
 * place.  Which place that is, ledger_places() asks in a statement of its own,
 * where a row was there before. */
#ifndef NO_LEDGER_GUARD
#define FORGOTTEN(i)  (tables.ledger < lane[i].ledger)
#else
#define FORGOTTEN(i)  false
#endif

inline ledger_write(i)
{
    if
#ifndef NO_CLAIM_GUARD
    :: tables.closed != lane[i].closed -> lane_fenced(i)
#endif
    :: FORGOTTEN(i) -> lane_fenced(i)
    :: else ->
        if
        :: log[lane[i].pos].twin -> ledger_placed(i)
        :: else -> ledger_claimed(i)
        fi;
        lane[i].ledger = tables.ledger;
        check_tables()
    fi
}

inline ledger_claimed(i)
{
#ifndef NO_OWN_PLACE
    yes = tables.holder == 0 || tables.holder == lane[i].pos + 1;
#else
    yes = tables.holder == 0;
#endif
    ledger_written(lane[i].pos);
    lane[i].what = (yes -> 0 : 3);
    yes = false;
    lane[i].busy = written
}

inline ledger_placed(i)
{
    lane[i].busy = (tables.place == 0 -> written : looking);
    tables_change();
    tables.place = (tables.place == 0 -> lane[i].pos + 1 : tables.place);
    tables.ledger = MAX(tables.ledger, lane[i].pos + 1)
}

inline ledger_places(i)
{
    if
    :: tables.place == 0 -> lane_fenced(i)
    :: else ->
#ifndef NO_OWN_PLACE
        lane[i].what = (tables.place == lane[i].pos + 1 -> 0 : 3);
#else
        lane[i].what = 3;
#endif
        lane[i].busy = written
    fi
}

inline ledger_written(at)
{
    tables_change();
    tables.holder = (tables.holder == 0 -> at + 1 : tables.holder);
    tables.uploads = tables.uploads | (yes -> 1 << at : 0);
    tables.ledger = MAX(tables.ledger, at + 1)
}

/* ledger_release(): a late record has nothing in its name; what is 3 where
 * another place of it counts */
inline ledger_release(i)
{
    if
    :: tables.closed != lane[i].closed -> lane_fenced(i)
#ifndef NO_RELEASE_LEDGER
    :: FORGOTTEN(i) -> lane_fenced(i)
#endif
    :: else ->
        if
        :: log[lane[i].pos].twin && tables.place == lane[i].pos + 1 ->
            tables_change();
            tables.place = 0
#ifndef NO_TWICE_LATE
        :: log[lane[i].pos].twin && tables.place != 0 &&
           tables.place != lane[i].pos + 1 -> lane[i].what = 3
#endif
        :: tables.holder == lane[i].pos + 1 || IN_UPLOADS(lane[i].pos) ->
            tables_change();
            tables.holder = (tables.holder == lane[i].pos + 1
                             -> 0 : tables.holder);
            tables.uploads = tables.uploads & ~(1 << lane[i].pos)
        :: else
        fi;
        lane[i].busy = released
    fi
}

/* apply_batch() up to apply_send() */
inline apply_judge(i)
{
    verdict(i);
    if
#ifndef NO_RELEASE
    :: n == 1 && log[lane[i].pos].named -> ledger_release(i)
#endif
#ifndef NO_ONE_PLACE
    :: n == 1 && log[lane[i].pos].twin -> ledger_release(i)
    :: n == 0 && log[lane[i].pos].twin -> n = 0; ledger_write(i)
#endif
#ifndef NO_CLAIM_FIRST
    :: n == 0 && log[lane[i].pos].named -> n = 0; ledger_write(i)
#else
    :: n == 0 && log[lane[i].pos].named && tables.holder != 0 &&
       tables.holder != lane[i].pos + 1 -> n = 3; state_apply(i)
#endif
#ifndef NO_SEND_FIRST
    :: n == 1 ->
        sent = sent | (1 << lane[i].pos);
        check_sent();
        lane[i].busy = sent_on
#endif
    :: else -> state_apply(i)
    fi;
    n = 0
}

/* apply.lua; n is the verdict */
inline state_apply(i)
{
    if
#ifndef NO_FENCE
    :: (lane[i].next == NONE) == redis.has -> lane_fenced(i)
#else
    :: lane[i].next == NONE && redis.has -> lane_fenced(i)
#endif
    :: else ->
        if
#ifndef NO_FENCE
        :: redis.has && redis.next != lane[i].next -> lane_fenced(i)
#else
        :: redis.has && redis.next != lane[i].next &&
           lane[i].pos < redis.next ->
            lane[i].pos++;
            lane[i].next = redis.next;
            lane_rest(i)
#endif
#ifndef NO_CLOSED
        :: redis.has && redis.closed != lane[i].closed -> lane_fenced(i)
#endif
        :: else -> state_applied(i)
        fi
    fi
}

inline state_applied(i)
{
    redis_changes();
    m = log[lane[i].pos].window;
    if
    :: !redis.has -> redis.has = true; redis.closed = lane[i].closed
    :: else ->
        redis.closed = MAX(redis.closed, lane[i].closed)
    fi;
    if
    :: n == 0 ->
        if
        :: (redis.open & (1 << m)) == 0 ->
            redis.open = redis.open | (1 << m);
            k = KEY(m, 0);
            do
            :: k <= KEY(m, 1) ->
#ifdef NO_FRESH
                redis.count[k] = redis.kept[k];
#endif
                redis.kept[k] = 0;
                k++
            :: else -> break
            od
        :: else
        fi;
        k = KEY(m, log[lane[i].pos].file);
        redis.count[k]++;
        lane[i].open = lane[i].open | (1 << m);
        lane[i].dirty = lane[i].dirty | (1 << k);
        k = 0
    :: else
    fi;
    redis.watermark = MAX(redis.watermark, m);
    redis.next = lane[i].pos + 1;
    redis.ledger = lane[i].ledger;
    lane[i].watermark = MAX(lane[i].watermark, m);
    lane_rest(i);
#ifdef NO_CLAIM_FIRST
    if
    :: n == 0 && log[lane[i].pos].named ->
        lane[i].busy = write_behind;
        lane[i].what = lane[i].pos
    :: else
    fi;
#endif
#ifdef NO_SEND_FIRST
    if
    :: n == 1 -> lane[i].busy = late_behind; lane[i].what = lane[i].pos
    :: else
    fi;
#endif
    lane[i].pos++;
    lane[i].next = lane[i].pos;
    lane[i].idle = 0;
    m = 0
}

/* flush.c: a part of the rows is read in one script and written in one
 * statement, then the next part; here each is of one row.  Rows of a window
 * that is being closed are the close's. */
#define FLUSHABLE(i)                                                          \
    (lane[i].dirty & ~(lane[i].closing > 0 -> 3 << KEY(lane[i].closing, 0)    \
                                           : 0))

inline flush_read(i)
{
    if
    :: !BELIEVES(i) -> lane_fenced(i)
    :: else ->
        m = FLUSHABLE(i);
        do
        :: (m & (1 << k)) == 0 -> k++
        :: else -> break
        od;
        lane[i].read = redis.count[k];
        lane[i].what = k;
        lane[i].dirty = lane[i].dirty & ~(1 << k);
        m = 0;
        k = 0;
        lane[i].busy = flushing
    fi
}

inline flush_write(i)
{
    if
#ifndef NO_FLUSH_GUARD
    :: tables.closed != lane[i].closed -> lane_fenced(i)
#endif
    :: else ->
        tables_change();
        rows_upsert(i, false, lane[i].what, lane[i].read);
        check_tables();
        lane_rest(i)
    fi
}

#define FIRST_OPEN(i)                                                         \
    (lane[i].open & 2 -> 1 : (lane[i].open & 4 -> 2                           \
                              : (lane[i].open & 8 -> 3 : 0)))
#define IS_DUE(i)                                                             \
    (FIRST_OPEN(i) > 0 &&                                                     \
     MAX(lane[i].watermark, lane[i].idle) >= DUE(FIRST_OPEN(i)))

/* close.c: pages of one window, with applies and flushes between them */
inline close_begin(i)
{
    lane[i].closing = FIRST_OPEN(i);
    lane[i].at = (lane[i].watermark >= DUE(lane[i].closing) -> NONE
                                                            : lane[i].next)
}

inline close_page(i)
{
    if
#ifndef NO_PAGE_FENCE
    :: !BELIEVES(i) -> lane_fenced(i)
#endif
#ifndef NO_ONE_NEXT
    :: lane[i].at != NONE && lane[i].at != lane[i].next -> close_end(i)
#endif
    :: else ->
        lane[i].pages[lane[i].page] =
            redis.count[KEY(lane[i].closing, lane[i].page)];
        lane[i].page++;
        if
        :: lane[i].page == 2 -> lane[i].page = 0; lane[i].busy = checking
        :: else
        fi
    fi
}

inline close_check(i)
{
    if
#ifndef NO_PAGE_FENCE
    :: !BELIEVES(i) -> lane_fenced(i)
#endif
    :: else -> lane[i].busy = committing
    fi
}

inline close_commit(i)
{
    m = lane[i].closing;
    if
#ifndef NO_CLOSE_CAS
    :: tables.closed != lane[i].closed -> lane_fenced(i)
#endif
    :: FORGOTTEN(i) -> lane_fenced(i)
    :: else ->
        o = MAX((tables.count[KEY(m, 0)] > 0 -> tables.through[KEY(m, 0)]
                                             : 0),
                (tables.count[KEY(m, 1)] > 0 -> tables.through[KEY(m, 1)]
                                             : 0));
        if
#ifndef NO_BEHIND
        :: lane[i].at != NONE && o > lane[i].next ->
            lane[i].close_from = o;
            close_end(i);
            lane_rest(i)
#endif
        :: else ->
            tables_change();
            rows_upsert(i, true, KEY(m, 0), lane[i].pages[0]);
            rows_upsert(i, true, KEY(m, 1), lane[i].pages[1]);
            tables.closed = m;
            tables.next = MAX(tables.next, lane[i].next);
            o = 0;
            check_tables();
            close_end(i);
            lane_rest(i);
            lane[i].what = tables.closed;
            lane[i].busy = forgetting
        fi;
        o = 0
    fi;
    m = 0
}

inline close_forget(i)
{
    m = lane[i].what;
    if
#ifndef NO_FORGET_FENCE
    :: redis.has && (redis.next != lane[i].next ||
                     redis.closed != lane[i].closed) -> lane_fenced(i)
#endif
    :: !redis.has -> lane_fenced(i)
    :: else ->
        redis_changes();
        state_close(m);
        lane[i].closed = m;
        lane[i].closed_next = MAX(lane[i].closed_next, lane[i].next);
        lane[i].open = lane[i].open & ~(1 << m);
        lane[i].dirty = lane[i].dirty & ~(3 << KEY(m, 0));
        lane_rest(i)
    fi;
    m = 0
}

#define FREE(i)  (lane[i].phase == on && lane[i].busy == free)

proctype Member(byte i)
{
end:
    do
    :: d_step { lane[i].phase == out -> take_progress(i) }
    :: d_step { lane[i].phase == taking -> take_state(i) }

    :: d_step { FREE(i) && lane[i].next != NONE && !BELIEVES(i) ->
            lane_fenced(i) }                              /* lane_recheck() */
#ifndef NO_RECHECK_PG
    :: d_step { FREE(i) && (tables.closed != lane[i].closed || FORGOTTEN(i)) ->
            lane_fenced(i) }
#endif
    :: d_step { FREE(i) && lane[i].pos < tail -> apply_judge(i) }
    :: d_step { lane[i].busy == written ->
            n = lane[i].what; state_apply(i); n = 0 }
    :: d_step { lane[i].busy == looking -> ledger_places(i) }
    :: d_step { lane[i].busy == write_behind ->
            yes = true;
            ledger_written(lane[i].what);
            yes = false;
            lane_rest(i) }
    :: d_step { lane[i].busy == released && lane[i].what == 0 ->
            sent = sent | (1 << lane[i].pos);
            check_sent();
            lane[i].busy = sent_on }
    :: d_step { lane[i].busy == released && lane[i].what == 3 ->
            n = 3; state_apply(i); n = 0 }
    :: d_step { lane[i].busy == sent_on -> n = 1; state_apply(i); n = 0 }
    :: d_step { lane[i].busy == late_behind ->
            sent = sent | (1 << lane[i].what);
            check_sent();
            lane_rest(i) }
    :: d_step { FREE(i) && FLUSHABLE(i) != 0 -> flush_read(i) }
    :: d_step { lane[i].busy == flushing -> flush_write(i) }

    :: d_step { FREE(i) && lane[i].closing == 0 && IS_DUE(i) &&
                lane[i].next >= lane[i].close_from -> close_begin(i) }
    :: d_step { FREE(i) && lane[i].closing > 0 -> close_page(i) }
    :: d_step { lane[i].busy == checking -> close_check(i) }
    :: d_step { lane[i].busy == committing -> close_commit(i) }
    :: d_step { lane[i].busy == forgetting -> close_forget(i) }

    /* close_is_idle(): the time, then the end of the log; either may change
     * between the two */
#ifndef NO_CLOCK_FIRST
    :: d_step { FREE(i) && !IS_DUE(i) && FIRST_OPEN(i) > 0 &&
                lane[i].pos == tail && clock >= DUE(FIRST_OPEN(i)) ->
            lane[i].busy = asking;
            lane[i].what = clock }
    :: d_step { lane[i].busy == asking ->
            lane[i].idle = (lane[i].pos == tail -> lane[i].what : 0);
            lane_rest(i) }
#else
    :: d_step { FREE(i) && !IS_DUE(i) && FIRST_OPEN(i) > 0 &&
                lane[i].pos == tail && lane[i].idle < clock ->
            lane[i].busy = clocking }
    :: d_step { lane[i].busy == clocking ->
            lane[i].idle = clock;
            lane_rest(i) }
#endif
    od
}


/* ---- the world ----------------------------------------------------------- */

/* Time passes a record's lateness only when the record is there. */
inline may_tick()
{
    yes = clock < THE_LAST;
    o = tail;
    do
    :: o < records ->
        if
        :: !log[o].straggler && DUE(log[o].window) <= clock + 1 -> yes = false
        :: else
        fi;
        o++
    :: else -> break
    od;
    o = 0
}

bool tick_now;

inline see_tick()
{
    may_tick();
    tick_now = yes;
    yes = false
}

proctype World()
{
end:
    do
    :: d_step { tail < records -> tail++; see_tick() }
    :: d_step { tick_now -> clock++; see_tick() }
    :: d_step { owner == NONE -> owner = 0; lane_reset(0, out) }
    :: d_step { owner == NONE -> owner = 1; lane_reset(1, out) }
    od
}

proctype Faults()
{
end:
    do
    :: d_step { steals > 0 && owner == 0 ->
            steals--; owner = 1; lane_reset(1, out) }
    :: d_step { steals > 0 && owner == 1 ->
            steals--; owner = 0; lane_reset(0, out) }
    :: d_step { crashes > 0 && lane[0].phase != gone ->
            crashes--;
            lane_reset(0, gone);
            owner = (owner == 0 -> NONE : owner) }
    :: d_step { crashes > 0 && lane[1].phase != gone ->
            crashes--;
            lane_reset(1, gone);
            owner = (owner == 1 -> NONE : owner) }
    :: d_step { retries > 0 && lane[0].phase == on ->
            retries--; lane_reset(0, out) }
    :: d_step { retries > 0 && lane[1].phase == on ->
            retries--; lane_reset(1, out) }
    :: d_step { flushes > 0 && redis.has ->
            flushes--;
            state_drop();
            k = 0;
            do
            :: k < KEYS -> redis.kept[k] = 0; k++
            :: else -> break
            od;
            k = 0;
            have_older = false }
    :: d_step { expiries > 0 && redis.has ->
            /* progress goes first, what it led to is left behind */
            expiries--;
            k = 0;
            do
            :: k < KEYS ->
                redis.kept[k] = MAX(redis.kept[k], redis.count[k]);
                k++
            :: else -> break
            od;
            state_drop();
            have_older = false }
    :: d_step { rollbacks > 0 && have_older ->
            rollbacks--;
            copy_state(older, redis);
            have_older = false }
    :: d_step { losses > 0 && have_oldtables ->
            losses--;
            copy_tables(oldtables, tables);
            check_tables();
            have_oldtables = false }
    :: d_step { crashes + steals + flushes + rollbacks + losses + retries +
                expiries > 0 ->
            expiries = 0; crashes = 0; steals = 0; flushes = 0; rollbacks = 0;
            losses = 0; retries = 0;
            have_older = false; have_oldtables = false }
    od
}

/* the scenarios' words */
#define RECORD(w, f, s, d)                                                    \
    log[records].window = w + 1;                                              \
    log[records].file = f;                                                    \
    log[records].straggler = s;                                               \
    log[records].named = d == 1;                                              \
    log[records].twin = d == 2;                                               \
    prompt = prompt && !s;                                                    \
    last = MAX(last, w + 1);                                                  \
    records++;

init {
    d_step {
        c_code { now.scenario = atoi(getenv("SCENARIO")); };
        clock = 1;
        if
        SCENARIOS
        fi;
        lane_reset(0, gone);
        lane_reset(1, gone);
        see_tick()
    };
    atomic {
        run World();
        run Faults();
        run Member(0);
        run Member(1)
    };
    timeout -> d_step { check_finished(); finished = true }
}

/* With processes that are not held up for ever, all work comes to its end:
 * no two lanes drive each other in circles. */
#ifdef LIVENESS
ltl ends { <> finished }
#endif
