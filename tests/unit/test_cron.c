/* When something runs next: crontab fields as Celery and as cron read them, time zones, entries that are
 * late. The tables were made with celery.schedules.crontab and zoneinfo, and with the cron-parser of pg-boss.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/cron.h"
#include "tests/unit/unit.h"

struct next_case {
    const char *fields, *zone;
    int64_t after, expected;
};

static const struct next_case celery_cases[] = {
    {"0 2 * * *", "Australia/Lord_Howe", INT64_C(1787472233), INT64_C(1787499000)},
    {"0 2 * * *", "America/Sao_Paulo", INT64_C(1773706494), INT64_C(1773723600)},
    {"0 2 * * *", "Asia/Riyadh", INT64_C(1779859520), INT64_C(1779922800)},
    {"*/15 * * * *", "Australia/Lord_Howe", INT64_C(1775010083), INT64_C(1775010600)},
    {"*/15 * * * *", "Africa/Casablanca", INT64_C(1796041902), INT64_C(1796042700)},
    {"*/15 * * * *", "UTC", INT64_C(1778761242), INT64_C(1778761800)},
    {"30 6 * * mon-fri", "America/Sao_Paulo", INT64_C(1823351716), INT64_C(1823419800)},
    {"30 6 * * mon-fri", "Asia/Riyadh", INT64_C(1799526841), INT64_C(1799638200)},
    {"30 6 * * mon-fri", "Asia/Riyadh", INT64_C(1824203601), INT64_C(1824435000)},
    {"0 0 1 * *", "UTC", INT64_C(1783842017), INT64_C(1785542400)},
    {"0 0 1 * *", "America/New_York", INT64_C(1775528583), INT64_C(1777608000)},
    {"0 0 1 * *", "America/Sao_Paulo", INT64_C(1773881364), INT64_C(1775012400)},
    {"0 0 31 * *", "America/New_York", INT64_C(1773477821), INT64_C(1774929600)},
    {"0 0 31 * *", "Africa/Casablanca", INT64_C(1785100021), INT64_C(1785452400)},
    {"0 0 31 * *", "Asia/Kolkata", INT64_C(1823481490), INT64_C(1824921000)},
    {"15 3 29 2 *", "Europe/Berlin", INT64_C(1783035406), INT64_C(1835403300)},
    {"15 3 29 2 *", "Asia/Kolkata", INT64_C(1791482284), INT64_C(1835387100)},
    {"15 3 29 2 *", "Asia/Riyadh", INT64_C(1792441222), INT64_C(1835396100)},
    {"5,35 */3 * * *", "Australia/Lord_Howe", INT64_C(1780302510), INT64_C(1780310100)},
    {"5,35 */3 * * *", "Africa/Casablanca", INT64_C(1775652993), INT64_C(1775657100)},
    {"5,35 */3 * * *", "UTC", INT64_C(1794868910), INT64_C(1794873900)},
    {"0 9 1-7 * mon", "Pacific/Auckland", INT64_C(1824616067), INT64_C(1825012800)},
    {"0 9 1-7 * mon", "Australia/Lord_Howe", INT64_C(1829717624), INT64_C(1830463200)},
    {"0 9 1-7 * mon", "Pacific/Auckland", INT64_C(1815756362), INT64_C(1817154000)},
    {"59 23 * 12 sun", "Asia/Kolkata", INT64_C(1800568851), INT64_C(1828031340)},
    {"59 23 * 12 sun", "Europe/Berlin", INT64_C(1799987679), INT64_C(1828047540)},
    {"59 23 * 12 sun", "Asia/Riyadh", INT64_C(1807524354), INT64_C(1828040340)},
    {"0 12 */10 * *", "Africa/Casablanca", INT64_C(1833678992), INT64_C(1833883200)},
    {"0 12 */10 * *", "Australia/Lord_Howe", INT64_C(1827467105), INT64_C(1827622800)},
    {"0 12 */10 * *", "Asia/Kolkata", INT64_C(1777050454), INT64_C(1777617000)},
    {"0 4 * 2-12/5 *", "Asia/Riyadh", INT64_C(1835936061), INT64_C(1846026000)},
    {"0 4 * 2-12/5 *", "America/Sao_Paulo", INT64_C(1789366438), INT64_C(1796108400)},
    {"0 4 * 2-12/5 *", "Australia/Lord_Howe", INT64_C(1787624618), INT64_C(1796058000)},
    {"10-20/5 7 * * fri-mon", "Pacific/Auckland", INT64_C(1823824995), INT64_C(1824142200)},
    {"10-20/5 7 * * fri-mon", "UTC", INT64_C(1777643644), INT64_C(1777705800)},
    {"10-20/5 7 * * fri-mon", "Africa/Casablanca", INT64_C(1809336078), INT64_C(1809670200)},
    {"0 0 * * 0", "Australia/Lord_Howe", INT64_C(1814225747), INT64_C(1814621400)},
    {"0 0 * * 0", "Pacific/Auckland", INT64_C(1828456443), INT64_C(1828522800)},
    {"0 0 * * 0", "Asia/Riyadh", INT64_C(1779787841), INT64_C(1780174800)},
    {"45 22 28-31 * *", "Asia/Kolkata", INT64_C(1830858001), INT64_C(1832692500)},
    {"45 22 28-31 * *", "Asia/Riyadh", INT64_C(1775368512), INT64_C(1777405500)},
    {"45 22 28-31 * *", "Asia/Kolkata", INT64_C(1827038491), INT64_C(1827422100)},
    {"1 1 1 1 *", "Asia/Kolkata", INT64_C(1819005650), INT64_C(1830281460)},
    {"1 1 1 1 *", "Australia/Lord_Howe", INT64_C(1770253944), INT64_C(1798725660)},
    {"1 1 1 1 *", "Pacific/Auckland", INT64_C(1814935185), INT64_C(1830254460)},
    {"0 0-23/2 15 6,9 *", "Europe/Berlin", INT64_C(1782941931), INT64_C(1789423200)},
    {"0 0-23/2 15 6,9 *", "Pacific/Auckland", INT64_C(1775138328), INT64_C(1781438400)},
    {"0 0-23/2 15 6,9 *", "America/New_York", INT64_C(1805804060), INT64_C(1813032000)},
};

static const struct next_case vixie_cases[] = {
    {"0 3 * * *", "America/Chicago", INT64_C(1817009408), INT64_C(1817020800)},
    {"0 3 * * *", "UTC", INT64_C(1789063936), INT64_C(1789095600)},
    {"0 0 13 * 5", "UTC", INT64_C(1821707008), INT64_C(1821744000)},
    {"0 0 13 * 5", "UTC", INT64_C(1788943168), INT64_C(1789084800)},
    {"*/7 * * * *", "UTC", INT64_C(1790422528), INT64_C(1790422920)},
    {"*/7 * * * *", "UTC", INT64_C(1827240448), INT64_C(1827240540)},
    {"0 0 L * *", "UTC", INT64_C(1817113600), INT64_C(1819670400)},
    {"0 0 L * *", "UTC", INT64_C(1785385728), INT64_C(1785456000)},
    {"0 9 * jan,jul 1-5", "UTC", INT64_C(1825566848), INT64_C(1830502800)},
    {"0 9 * jan,jul 1-5", "UTC", INT64_C(1825754880), INT64_C(1830502800)},
    {"@daily", "UTC", INT64_C(1809695040), INT64_C(1809734400)},
    {"@daily", "UTC", INT64_C(1827473408), INT64_C(1827532800)},
    {"@weekly", "UTC", INT64_C(1771808256), INT64_C(1772323200)},
    {"@weekly", "UTC", INT64_C(1822778368), INT64_C(1823126400)},
    {"30 8 1 */3 *", "UTC", INT64_C(1780556288), INT64_C(1782894600)},
    {"30 8 1 */3 *", "UTC", INT64_C(1775272960), INT64_C(1782894600)},
    {"15 10 * * 7", "UTC", INT64_C(1784567168), INT64_C(1785060900)},
    {"15 10 * * 7", "UTC", INT64_C(1822465408), INT64_C(1822558500)},
    {"0 0 1 1 *", "UTC", INT64_C(1803568384), INT64_C(1830297600)},
    {"0 0 1 1 *", "UTC", INT64_C(1827696384), INT64_C(1830297600)},
    {"*/20 30 6 * * *", "UTC", INT64_C(1768036864), INT64_C(1768113000)},
    {"*/20 30 6 * * *", "UTC", INT64_C(1823568896), INT64_C(1823581800)},
    {"5/15 0 * * *", "UTC", INT64_C(1770824704), INT64_C(1770854700)},
    {"5/15 0 * * *", "UTC", INT64_C(1824299520), INT64_C(1824336300)},
    {"0 22 * * sat,sun", "UTC", INT64_C(1783622912), INT64_C(1783807200)},
    {"0 22 * * sat,sun", "UTC", INT64_C(1778620928), INT64_C(1778968800)},
};

/* Worked out by hand: clocks that change. */
static const struct next_case clock_cases[] = {
    /* 02:30 is left out on 2026-03-29 in Berlin: 03:30 summer time. */
    {"30 2 * * *", "Europe/Berlin", INT64_C(1774728000), INT64_C(1774747800)},
    /* and is there again the next day */
    {"30 2 * * *", "Europe/Berlin", INT64_C(1774747800), INT64_C(1774830600)},
    /* 02:30 is there twice on 2026-10-25: the first one, and only once. */
    {"30 2 * * *", "Europe/Berlin", INT64_C(1792872000), INT64_C(1792888200)},
    {"30 2 * * *", "Europe/Berlin", INT64_C(1792888200), INT64_C(1792978200)},
    /* Every 20 minutes goes on through both of these hours. */
    {"*/20 * * * *", "Europe/Berlin", INT64_C(1792888800), INT64_C(1792890000)},
    {"*/20 * * * *", "Europe/Berlin", INT64_C(1792890000), INT64_C(1792891200)},
    /* Beyond the transitions in the file: the rule at its end. 2055-07-01 02:00 in New York is 06:00 UTC. */
    {"0 2 1 7 *", "America/New_York", INT64_C(2697000000), INT64_C(2698034400)},
    {"0 2 1 1 *", "America/New_York", INT64_C(2697000000), INT64_C(2713935600)},
    /* Leap days. */
    {"0 0 29 2 *", "UTC", INT64_C(1772323200), INT64_C(1835395200)},
    /* Never. */
    {"0 0 31 2 *", "UTC", INT64_C(1772323200), 0},
    {"0 0 30 2 mon", "UTC", INT64_C(1772323200), 0},
};

static void check_cases(const struct next_case *cases, size_t count, enum cron_flavour flavour)
{
    struct zone_cache *zones = zone_cache_new(NULL);
    for (size_t i = 0; i < count; i++) {
        struct cron cron;
        const struct zone *zone = zone_find(zones, cases[i].zone);
        assert_non_null(zone);
        assert_true(cron_parse(&cron, cases[i].fields, flavour));
        int64_t next = cron_next(&cron, zone, cases[i].after);
        if (next != cases[i].expected)
            fail_msg("%s %s after %lld: %lld, not %lld", cases[i].fields, cases[i].zone,
                     (long long)cases[i].after, (long long)next, (long long)cases[i].expected);
    }
    talloc_free(zones);
}

static void next_times(void **state)
{
    (void)state;
    check_cases(celery_cases, sizeof celery_cases / sizeof *celery_cases, CRON_CELERY);
    check_cases(vixie_cases, sizeof vixie_cases / sizeof *vixie_cases, CRON_VIXIE);
    check_cases(clock_cases, sizeof clock_cases / sizeof *clock_cases, CRON_CELERY);
}

/* The 13th and Fridays: Celery wants both, cron either. */
static void days_together(void **state)
{
    (void)state;
    struct cron celery, vixie;
    struct zone_cache *zones = zone_cache_new(NULL);
    const struct zone *utc = zone_find(zones, "UTC");
    int64_t after = INT64_C(1775001600); /* 2026-04-01, a Wednesday */
    assert_true(cron_parse(&celery, "0 0 13 * fri", CRON_CELERY));
    assert_true(cron_parse(&vixie, "0 0 13 * fri", CRON_VIXIE));
    assert_int_equal(cron_next(&vixie, utc, after), INT64_C(1775174400));  /* Friday, April 3rd */
    assert_int_equal(cron_next(&celery, utc, after), INT64_C(1794528000)); /* Friday, November 13th */
    talloc_free(zones);
}

static void wrong_fields(void **state)
{
    (void)state;
    struct cron cron;
    static const char *const wrong[] = {"",
                                        "* * * *",
                                        "* * * * * *",
                                        "60 * * * *",
                                        "* 24 * * *",
                                        "* * 0 * *",
                                        "* * 32 * *",
                                        "* * * 0 *",
                                        "* * * 13 *",
                                        "* * * * 8",
                                        "*/0 * * * *",
                                        "1,,2 * * * *",
                                        "a * * * *",
                                        "1- * * * *",
                                        "-1 * * * *",
                                        "* * * * xyz",
                                        "1/ * * * *",
                                        "99999999999 * * * *",
                                        "*,  * * * *",
                                        "@daily"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (cron_parse(&cron, wrong[i], CRON_CELERY))
            fail_msg("\"%s\" was taken", wrong[i]);
    assert_true(cron_parse(&cron, "  0\t0 1  *   SUN ", CRON_CELERY));
    assert_int_equal(cron.weekdays, 1);
    assert_true(cron_parse(&cron, "0 0 * * 5-7", CRON_VIXIE));
    assert_int_equal(cron.weekdays, 1 << 5 | 1 << 6 | 1);
    assert_true(cron_parse(&cron, "0 0 * * sat-mon", CRON_CELERY));
    assert_int_equal(cron.weekdays, 1 << 6 | 1 | 1 << 1);
}

static void zones_by_name(void **state)
{
    (void)state;
    struct zone_cache *zones = zone_cache_new(NULL);
    static const char *const wrong[] = {"../../etc/passwd", "/etc/localtime", "Mars/Base", "Europe/Berlin ",
                                        "x\ny"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_null(zone_find(zones, wrong[i]));
    assert_ptr_equal(zone_find(zones, NULL), zone_find(zones, "UTC"));
    const struct zone *berlin = zone_find(zones, "Europe/Berlin");
    assert_ptr_equal(berlin, zone_find(zones, "Europe/Berlin"));
    assert_int_equal(zone_offset(berlin, INT64_C(1774745999)), 3600);
    assert_int_equal(zone_offset(berlin, INT64_C(1774746000)), 7200);
    assert_int_equal(zone_offset(berlin, INT64_C(-3000000000)), 3208); /* local mean time, before 1893 */
    assert_int_equal(zone_offset(zone_find(zones, "Asia/Kathmandu"), 0), 19800);
    assert_int_equal(zone_offset(zone_find(zones, "Asia/Kathmandu"), INT64_C(1774746000)), 20700);
    assert_int_equal(zone_offset(zone_find(zones, "Europe/Dublin"), INT64_C(3000000000)), 0);
    assert_int_equal(zone_offset(zone_find(zones, "Asia/Jerusalem"), INT64_C(3003000000)), 7200);
    talloc_free(zones);
}

static struct schedule_due due(const struct schedule_when when, double now)
{
    struct zone_cache *zones = zone_cache_new(NULL);
    struct schedule_due result = schedule_due(zones, &when, now);
    talloc_free(zones);
    return result;
}

static void entries(void **state)
{
    (void)state;
    const double now = 1774746100; /* 01:01:40 UTC */
    struct schedule_due d =
        due((struct schedule_when){"celery", "0 1 * * *", "UTC", .last = now - 86400, .slack = 200}, now);
    assert_true(d.late == 0 &&
                d.next == 1774746000 + 86400); /* due 100 s ago: it may not be written down yet */
    d = due((struct schedule_when){"celery", "0 1 * * *", "UTC", .last = now - 86400, .slack = 60}, now);
    assert_true(d.late == 40 && d.next == 1774746000);
    d = due((struct schedule_when){"celery", "0 1 * * *", "Mars/Base", .last = now}, now);
    assert_true(d.next == 0 && d.why);
    d = due((struct schedule_when){"celery", "often", NULL, .last = now}, now);
    assert_true(d.next == 0 && d.why);
    assert_string_equal(d.text, "often");
    d = due((struct schedule_when){"every", "10", NULL, .last = now - 25, .slack = 200}, now);
    assert_string_equal(d.text, "every 10 s");
    assert_true(d.late == 0 && d.next == now + 5);
    d = due((struct schedule_when){"every", "3600", NULL, .base = now - 7200, .slack = 200}, now);
    assert_string_equal(d.text, "every 1 h");
    assert_true(d.late == 3400 && d.next == now - 3600 && d.why);
    d = due((struct schedule_when){"every", "90", NULL, .base = now - 7200, .start = now + 500}, now);
    assert_true(d.late == 0 && d.next == now + 500);
    d = due((struct schedule_when){"every", "-5", NULL, .base = now}, now);
    assert_true(d.late == 0 && d.next == 0);
    d = due((struct schedule_when){"text", "dusk at 1 2", NULL, .last = now - 9999}, now);
    assert_true(d.late == 0 && d.next == 0);
    d = due((struct schedule_when){"text", "once at x", NULL, .known = now - 300, .slack = 200}, now);
    assert_true(d.late == 100 && d.next == now - 300);
    d = due((struct schedule_when){0}, now);
    assert_string_equal(d.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_times),    cmocka_unit_test(days_together), cmocka_unit_test(wrong_fields),
        cmocka_unit_test(zones_by_name), cmocka_unit_test(entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
