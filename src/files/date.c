/* SPDX-License-Identifier: MIT */
/*
 * HTTP dates. The calendar is computed here, since gmtime and timegm belong to the C library's time
 * zones and strptime to its locale. Days are counted in years that begin in March, so that the leap
 * day is the last day of its year.
 */
#include "files/date.h"

#include <stdbool.h>

#include "base/text.h"

static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

#define DAYS_OF_400_YEARS 146097
#define DAYS_TO_1970 719468               /* from 0000-03-01 */
#define FIRST_SECOND (-62167219200)       /* 0000-01-01 00:00:00 */
#define LAST_SECOND INT64_C(253402300799) /* 9999-12-31 23:59:59 */

static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    int64_t era;
    unsigned of_era, of_year;

    year -= month <= 2;
    era = (year >= 0 ? year : year - 399) / 400;
    of_era = (unsigned)(year - era * 400);
    of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * DAYS_OF_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
           DAYS_TO_1970;
}

static void civil_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    int64_t era;
    unsigned of_era, year_of_era, of_year, m;

    days += DAYS_TO_1970;
    era = (days >= 0 ? days : days - (DAYS_OF_400_YEARS - 1)) / DAYS_OF_400_YEARS;
    of_era = (unsigned)(days - era * DAYS_OF_400_YEARS);
    year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = era * 400 + year_of_era + (*month <= 2);
}

static int64_t floor_days(int64_t unix_s)
{
    return (unix_s >= 0 ? unix_s : unix_s - 86399) / 86400;
}

void ferry_date_format(int64_t unix_s, char out[FERRY_DATE_LEN])
{
    int64_t days, year;
    unsigned month, day, rest;
    char *at = out;

    if (unix_s < FIRST_SECOND)
        unix_s = FIRST_SECOND;
    if (unix_s > LAST_SECOND)
        unix_s = LAST_SECOND;
    days = floor_days(unix_s);
    rest = (unsigned)(unix_s - days * 86400);
    civil_from_days(days, &year, &month, &day);

    at = ferry__put(at, ferry_slice(day_names[((days + 4) % 7 + 7) % 7], 3));
    at = FERRY_PUT(at, ", ");
    at = ferry__put_u64(at, day, 2);
    *at++ = ' ';
    at = ferry__put(at, ferry_slice(month_names[month - 1], 3));
    *at++ = ' ';
    at = ferry__put_u64(at, (uint64_t)year, 4);
    *at++ = ' ';
    at = ferry__put_u64(at, rest / 3600, 2);
    *at++ = ':';
    at = ferry__put_u64(at, rest / 60 % 60, 2);
    *at++ = ':';
    at = ferry__put_u64(at, rest % 60, 2);
    FERRY_PUT(at, " GMT");
}

struct civil {
    unsigned year, month, day, hour, minute, second;
    bool short_year;
};

static bool number(const char *p, unsigned digits, unsigned *out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < digits; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        n = n * 10 + (unsigned)(p[i] - '0');
    }
    *out = n;
    return true;
}

/*
 * Matches text against a form of the same length, letter by letter: D day, d day padded with a
 * blank, mmm a month's name, y year, H N S time, w any letter of a weekday's name;
 * all else stands for itself.
 */
static bool match(struct ferry_slice text, const char *form, struct civil *c)
{
    const char *p = text.p;
    bool good = strlen(form) == text.len;

    for (; good && *form; form++, p++) {
        unsigned width = 1;

        while (form[width] == *form)
            width++;
        switch (*form) {
        case 'D':
            good = number(p, width, &c->day);
            break;
        case 'd':
            good = *p == ' ' ? number(p + 1, 1, &c->day) : number(p, 2, &c->day);
            break;
        case 'm':
            c->month = 0;
            for (unsigned i = 0; i < 12; i++)
                if (memcmp(p, month_names[i], 3) == 0)
                    c->month = i + 1;
            break;
        case 'y':
            good = number(p, width, &c->year);
            c->short_year = width == 2;
            break;
        case 'H':
            good = number(p, width, &c->hour);
            break;
        case 'N':
            good = number(p, width, &c->minute);
            break;
        case 'S':
            good = number(p, width, &c->second);
            break;
        case 'w':
            for (unsigned i = 0; i < width; i++)
                good = good && ferry_ascii_lower(p[i]) >= 'a' && ferry_ascii_lower(p[i]) <= 'z';
            break;
        default:
            width = 1;
            good = *p == *form;
        }
        form += width - 1;
        p += width - 1;
    }
    return good;
}

static bool is_real(const struct civil *c)
{
    static const uint8_t days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (c->year % 4 == 0 && c->year % 100 != 0) || c->year % 400 == 0;

    if (c->month == 0 || c->day == 0 || c->day > days[c->month - 1])
        return false;
    if (c->month == 2 && c->day == 29 && !leap)
        return false;
    return c->hour < 24 && c->minute < 60 && c->second <= 60; /* 60 is a leap second */
}

/* The year with these last two digits that lies at most 50 years ahead. */
static unsigned whole_year(unsigned two_digits, int64_t now_s)
{
    int64_t year;
    unsigned month, day;

    civil_from_days(floor_days(now_s), &year, &month, &day);
    two_digits += (unsigned)(year / 100 * 100);
    if (two_digits > year + 50)
        return two_digits - 100;
    return two_digits + 50 < year ? two_digits + 100 : two_digits;
}

int ferry_date_parse(struct ferry_slice text, int64_t now_s, int64_t *out)
{
    struct civil c = {0};
    size_t comma = ferry_slice_find(text, ',');
    bool good;

    if (comma == 3) {
        good = match(text, "www, DD mmm yyyy HH:NN:SS GMT", &c);
    } else if (comma < text.len) { /* RFC 850: the weekday's name in full */
        good = comma >= 6 && comma <= 9 &&
               match(ferry_slice_from(text, comma), ", DD-mmm-yy HH:NN:SS GMT", &c);
        for (size_t i = 0; good && i < comma; i++)
            good = ferry_ascii_lower(text.p[i]) >= 'a' && ferry_ascii_lower(text.p[i]) <= 'z';
    } else {
        good = match(text, "www mmm dd HH:NN:SS yyyy", &c);
    }
    if (good && c.short_year)
        c.year = whole_year(c.year, now_s);
    if (!good || !is_real(&c))
        return FERRY_EPROTOCOL;
    *out =
        days_from_civil(c.year, c.month, c.day) * 86400 + c.hour * 3600 + c.minute * 60 + c.second;
    return 0;
}
