/* SPDX-License-Identifier: MIT */
/*
 * What a run found, in one of three forms. Text and TAP are written as results come in, JSON at the
 * end. Strengths that are not required are told apart in all of them: text has a word of its own
 * for each, TAP marks them as known, JSON names the strength.
 */
#include "check/report.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 80
#define GROUPS_MAX 64
#define REASONS_MAX 16 /* different ones of skipped cases, for the summary */

struct count {
    const struct ferry_check_group *group;
    unsigned passed, failed, skipped;
};

struct ferry_report {
    struct ferry_report_opts o;
    struct count groups[GROUPS_MAX];
    size_t ngroups;
    unsigned failed[4]; /* by strength */
    unsigned passed, skipped, n;
    struct {
        char *text;
        unsigned n;
    } reasons[REASONS_MAX];
    char *failures; /* ids of required cases that failed */
    json_t *json, *facts, *cases;
    bool broken; /* memory was out for something to be told */
};

struct ferry_report *ferry_report_new(const struct ferry_report_opts *o)
{
    struct ferry_report *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->o = *o;
    if (o->format == FERRY_REPORT_JSON) {
        r->json = json_object();
        r->facts = json_object();
        r->cases = json_array();
        if (!r->json || !r->facts || !r->cases) {
            ferry_report_free(r);
            return NULL;
        }
    }
    return r;
}

void ferry_report_free(struct ferry_report *r)
{
    if (!r)
        return;
    json_decref(r->json);
    json_decref(r->facts);
    json_decref(r->cases);
    for (size_t i = 0; i < REASONS_MAX; i++)
        free(r->reasons[i].text);
    free(r->failures);
    free(r);
}

/* -- text ------------------------------------------------------------------------------------- */

enum colour { PLAIN, RED, YELLOW, GREEN, DIM };

static const char *paint(const struct ferry_report *r, enum colour c)
{
    static const char *const codes[] = {"\033[0m", "\033[1;31m", "\033[33m", "\033[32m", "\033[2m"};

    return r->o.colour ? codes[c] : "";
}

/* Words, in lines that end before column 80, every further one indented; `at` is the column. */
static void wrap(FILE *to, const char *text, size_t at, size_t indent)
{
    bool first = true;

    while (*text) {
        size_t word = strcspn(text, " ");

        if (!first && at + 1 + word > WIDTH) {
            fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            fputc(' ', to);
            at++;
        }
        fwrite(text, 1, word, to);
        at += word;
        text += word;
        text += strspn(text, " ");
        first = false;
    }
    fputc('\n', to);
}

/* The word for a result, and its colour. A case that is not required and fails gets a milder one.
 */
static const char *verdict(const struct ferry_check_result *res, enum colour *colour)
{
    if (res->outcome == FERRY_PASSED)
        return *colour = GREEN, "ok";
    if (res->outcome == FERRY_SKIPPED)
        return *colour = DIM, "skip";
    if (res->at->strength == FERRY_SILENT)
        return *colour = DIM, "note";
    if (res->at->strength == FERRY_SHOULD)
        return *colour = YELLOW, "WARN";
    return *colour = RED, "FAIL";
}

static void text_talk(const struct ferry_report *r, const struct ferry_talk *talk)
{
    char buf[FERRY_TALK_LINE_MAX + 32];
    const char *line;

    for (size_t i = 0; (line = ferry_talk_line(talk, i, buf, sizeof buf)); i++)
        fprintf(r->o.to, "       %s%s%s\n", paint(r, DIM), line, paint(r, PLAIN));
}

static void text_result(struct ferry_report *r, const struct ferry_check_result *res)
{
    bool failed = res->outcome == FERRY_FAILED, silent = res->at->strength == FERRY_SILENT;
    enum colour colour;
    const char *word = verdict(res, &colour);

    if (!r->o.verbose && (!failed || silent))
        return;
    fprintf(r->o.to, "%s%-4s%s %-10s ", paint(r, colour), word, paint(r, PLAIN), res->at->id);
    wrap(r->o.to, res->at->title, 16, 16);
    if (failed)
        fprintf(r->o.to, "     %s%s%s\n", ferry_strength_word(res->at->strength),
                *res->at->section ? ", specification section " : "", res->at->section);
    if (*res->reason) {
        fputs("     ", r->o.to);
        wrap(r->o.to, res->reason, 5, 5);
    }
    if (failed)
        text_talk(r, res->talk);
    fflush(r->o.to);
}

static void number(FILE *to, unsigned n)
{
    if (n)
        fprintf(to, "%9u", n);
    else
        fprintf(to, "%9s", "-");
}

static void text_groups(const struct ferry_report *r)
{
    FILE *to = r->o.to;

    fprintf(to, "\n%-50s%9s%9s%9s\n", "", "passed", "failed", "skipped");
    for (size_t i = 0; i < r->ngroups; i++) {
        const struct count *g = &r->groups[i];

        fprintf(to, "%-7s%-43s", g->group->id, g->group->title);
        number(to, g->passed);
        number(to, g->failed);
        number(to, g->skipped);
        fputc('\n', to);
    }
    fprintf(to, "%-50s", "");
    number(to, r->passed);
    number(to, r->failed[0] + r->failed[1] + r->failed[2] + r->failed[3]);
    number(to, r->skipped);
    fputs("\n\n", to);
}

static void text_end(const struct ferry_report *r)
{
    FILE *to = r->o.to;
    unsigned must = r->failed[FERRY_MUST] + r->failed[FERRY_INFERRED];

    text_groups(r);
    for (size_t i = 0; i < REASONS_MAX && r->reasons[i].n; i++) {
        char count[24];
        int n = snprintf(count, sizeof count, "%u skipped: ", r->reasons[i].n);

        fputs(count, to);
        wrap(to, r->reasons[i].text, (size_t)n, 4);
    }
    if (r->failed[FERRY_SILENT])
        fprintf(to, "%u done otherwise than ferry does where the specification is silent%s\n",
                r->failed[FERRY_SILENT], r->o.verbose ? "" : " (-v tells)");
    if (r->failed[FERRY_SHOULD])
        fprintf(to, "%u against what the specification recommends\n", r->failed[FERRY_SHOULD]);
    if (must) {
        fprintf(to, "%s%u against what the specification demands:%s", paint(r, RED), must,
                paint(r, PLAIN));
        wrap(to, r->failures ? r->failures : "", 44, 4);
    } else if (r->passed) {
        fprintf(to, "%snothing against what the specification demands%s\n", paint(r, GREEN),
                paint(r, PLAIN));
    }
}

/* -- TAP -------------------------------------------------------------------------------------- */

/* In single quotes, as YAML has them. */
static void yaml(FILE *to, const char *text)
{
    fputc('\'', to);
    for (; *text; text++)
        if (*text == '\'')
            fputs("''", to);
        else
            fputc(*text, to);
    fputs("'\n", to);
}

static void tap_result(struct ferry_report *r, const struct ferry_check_result *res)
{
    /* Split, for a search for this word means something else. */
    static const char known[] = "TO"
                                "DO";
    char buf[FERRY_TALK_LINE_MAX + 32];
    const char *line;
    FILE *to = r->o.to;

    fprintf(to, "%sok %u - %s %s", res->outcome == FERRY_FAILED ? "not " : "", r->n, res->at->id,
            res->at->title);
    if (res->outcome == FERRY_SKIPPED)
        fprintf(to, " # SKIP %s", res->reason);
    if (res->outcome == FERRY_FAILED && !ferry_strength_is_required(res->at->strength))
        fprintf(to, " # %s %s", known, ferry_strength_word(res->at->strength));
    fputc('\n', to);
    if (res->outcome == FERRY_FAILED) {
        fprintf(to, "  ---\n  strength: %s\n  section: '%s'\n  reason: ",
                ferry_strength_word(res->at->strength), res->at->section);
        yaml(to, res->reason);
        fputs("  conversation:\n", to);
        for (size_t i = 0; (line = ferry_talk_line(res->talk, i, buf, sizeof buf)); i++) {
            fputs("    - ", to);
            yaml(to, line);
        }
        fputs("  ...\n", to);
    }
    fflush(to);
}

/* -- JSON ------------------------------------------------------------------------------------- */

static const char *const outcome_words[] = {"passed", "failed", "skipped"};

static void json_result(struct ferry_report *r, const struct ferry_check_result *res)
{
    char buf[FERRY_TALK_LINE_MAX + 32];
    json_t *talk = json_array(), *one;
    const char *line;

    if (res->outcome == FERRY_FAILED)
        for (size_t i = 0; (line = ferry_talk_line(res->talk, i, buf, sizeof buf)); i++)
            json_array_append_new(talk, json_string(line));
    one = json_pack("{ss ss ss ss ss ss ss si so}", "id", res->at->id, "group", res->group->id,
                    "section", res->at->section, "strength", ferry_strength_word(res->at->strength),
                    "title", res->at->title, "result", outcome_words[res->outcome], "reason",
                    res->reason, "ms", (int)res->ms, "conversation", talk);
    if (json_array_append_new(r->cases, one) < 0)
        r->broken = true;
}

/* In the order of their first cases. */
static json_t *json_groups(const struct ferry_report *r)
{
    json_t *all = json_array();

    for (size_t i = 0; i < r->ngroups; i++) {
        const struct count *g = &r->groups[i];

        json_array_append_new(all, json_pack("{ss ss si si si}", "id", g->group->id, "title",
                                             g->group->title, "passed", (int)g->passed, "failed",
                                             (int)g->failed, "skipped", (int)g->skipped));
    }
    return all;
}

static void json_end(struct ferry_report *r)
{
    json_t *failed =
        json_pack("{si si si}", "must", (int)(r->failed[FERRY_MUST] + r->failed[FERRY_INFERRED]),
                  "should", (int)r->failed[FERRY_SHOULD], "silent", (int)r->failed[FERRY_SILENT]);

    if (json_object_set_new(r->json, "target", json_string(r->o.target ? r->o.target : "")) < 0 ||
        json_object_set(r->json, "facts", r->facts) < 0 ||
        json_object_set_new(r->json, "groups", json_groups(r)) < 0 ||
        json_object_set(r->json, "cases", r->cases) < 0 ||
        json_object_set_new(r->json, "passed", json_integer(r->passed)) < 0 ||
        json_object_set_new(r->json, "failed", failed) < 0 ||
        json_object_set_new(r->json, "skipped", json_integer(r->skipped)) < 0 ||
        json_dumpf(r->json, r->o.to, JSON_INDENT(2)) < 0)
        r->broken = true;
    fputc('\n', r->o.to);
}

/* -- all of them ------------------------------------------------------------------------------ */

void ferry_report_fact(struct ferry_report *r, const char *name, const char *value)
{
    if (r->o.format == FERRY_REPORT_JSON) {
        if (json_object_set_new(r->facts, name, json_string(value)) < 0)
            r->broken = true;
    } else if (r->o.format == FERRY_REPORT_TAP) {
        fprintf(r->o.to, "# %s: %s\n", name, value);
    } else {
        fprintf(r->o.to, "%s: ", name);
        wrap(r->o.to, value, strlen(name) + 2, 4);
    }
}

void ferry_report_suite(struct ferry_report *r, const struct ferry_check_suite *suite)
{
    if (r->o.format == FERRY_REPORT_JSON) {
        if (json_object_set_new(r->json, "suite", json_string(suite->name)) < 0)
            r->broken = true;
    } else if (r->o.format == FERRY_REPORT_TAP) {
        fputs("TAP version 14\n", r->o.to);
    }
}

static struct count *count_of(struct ferry_report *r, const struct ferry_check_group *g)
{
    if (r->ngroups == 0 || r->groups[r->ngroups - 1].group != g) {
        if (r->ngroups == GROUPS_MAX)
            return &r->groups[GROUPS_MAX - 1];
        r->groups[r->ngroups++].group = g;
    }
    return &r->groups[r->ngroups - 1];
}

static void count_reason(struct ferry_report *r, const char *reason)
{
    for (size_t i = 0; i < REASONS_MAX; i++) {
        if (!r->reasons[i].text)
            r->reasons[i].text = strdup(reason);
        if (r->reasons[i].text && strcmp(r->reasons[i].text, reason) == 0) {
            r->reasons[i].n++;
            return;
        }
    }
}

static void name_failure(struct ferry_report *r, const char *id)
{
    char *longer;

    if (asprintf(&longer, "%s %s", r->failures ? r->failures : "", id) < 0)
        return;
    free(r->failures);
    r->failures = longer;
}

void ferry_report_result(struct ferry_report *r, const struct ferry_check_result *res)
{
    struct count *g = count_of(r, res->group);

    r->n++;
    if (res->outcome == FERRY_PASSED) {
        r->passed++;
        g->passed++;
    } else if (res->outcome == FERRY_SKIPPED) {
        r->skipped++;
        g->skipped++;
        count_reason(r, res->reason);
    } else {
        r->failed[res->at->strength]++;
        g->failed++;
        if (ferry_strength_is_required(res->at->strength))
            name_failure(r, res->at->id);
    }
    if (r->o.format == FERRY_REPORT_JSON)
        json_result(r, res);
    else if (r->o.format == FERRY_REPORT_TAP)
        tap_result(r, res);
    else
        text_result(r, res);
}

int ferry_report_end(struct ferry_report *r)
{
    if (r->o.format == FERRY_REPORT_JSON)
        json_end(r);
    else if (r->o.format == FERRY_REPORT_TAP)
        fprintf(r->o.to, "1..%u\n", r->n);
    else
        text_end(r);
    return r->broken || fflush(r->o.to) != 0 || ferror(r->o.to) ? -EIO : 0;
}
