//! An agent: a model that calls tools until it has an answer.
//!
//! ```text
//! cargo run -p mcp-troupe-examples --bin agent -- "What is the weather in Oslo?"                        tools of a server that comes along
//! cargo run -p mcp-troupe-examples --bin agent -- "What is the weather in Oslo?" --config servers.json  those of your own servers
//! ```
//!
//! Its model is a stand-in that picks the tool whose description is most like the question, so that the example runs without a
//! key. A real one takes its place in `Model::turn`: its request has the same messages and tools, and its answer the same two forms.

use std::collections::BTreeSet;

use clap::Parser;
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, ConfigWatch, Server, Troupe};
use serde_json::{Value, json};

type Failed = Box<dyn std::error::Error>;

/// Turns of the model for one question. A model that has not found the answer by then goes in circles.
const TURNS_MAX: usize = 8;

#[derive(Parser)]
struct Options {
    /// What the agent is to find out.
    question: String,
    /// The servers whose tools it has.
    #[arg(long)]
    config: Option<std::path::PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let options = Options::parse();
    let weather = json!({"content": [{"type": "text", "text": "Oslo: 4 degrees, rain"}]});
    let own = ScriptedServer::builder()
        .tool("forecast", Script::Reply(weather.to_string()))
        .says("forecast", json!({"description": "The weather of a city, today and tomorrow."}))
        .tool("sum", Script::ToolError("no numbers were given".to_owned()))
        .says("sum", json!({"description": "The sum of numbers."}))
        .start()
        .await;
    let builder = match options.config {
        Some(path) => Troupe::builder().config(ConfigWatch::new(path).read().await?),
        None => Troupe::builder().server(Server::websocket("demo", own.url())),
    };
    let troupe = builder.start().await?;
    for missing in troupe.settled().await {
        eprintln!("without {missing}");
    }
    println!("{}", answer(&troupe, options.question).await?);
    troupe.shutdown().await;
    Ok(())
}

/// Asks the model, makes the calls that it asks for and shows it their results, until it answers.
async fn answer(troupe: &Troupe, question: String) -> Result<String, Failed> {
    let catalogue = troupe.catalogue();
    let tools: Result<Vec<_>, _> =
        catalogue.tools().map(|tool| serde_json::to_value(tool.function().chat_completions())).collect();
    let tools = tools?;
    let mut messages = vec![json!({"role": "user", "content": question})];
    for _ in 0..TURNS_MAX {
        match Model.turn(&messages, &tools) {
            Turn::Answer(text) => return Ok(text),
            Turn::Call { tool, arguments } => {
                eprintln!("the model calls {tool} {arguments}");
                // What went wrong is for the model to read as well: it may ask otherwise, or do without.
                let result = match troupe.call(Call::tool(&*tool).args(arguments)).await {
                    Ok(reply) => {
                        reply.content()?.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
                    }
                    Err(error) => error.to_string(),
                };
                messages.push(json!({"role": "tool", "name": tool, "content": result}));
            }
        }
    }
    Err("the model found no answer".into())
}

/// What a model says in its turn.
enum Turn {
    Answer(String),
    Call { tool: String, arguments: Value },
}

struct Model;

impl Model {
    fn turn(&self, messages: &[Value], tools: &[Value]) -> Turn {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
        let words = |text: String| -> BTreeSet<String> {
            text.split(|c: char| !c.is_alphanumeric())
                .filter(|word| word.len() > 2)
                .map(str::to_owned)
                .collect()
        };
        let last = &messages[messages.len() - 1];
        if last["role"] == "tool" {
            return Turn::Answer(format!("{} says: {}", last["name"], last["content"]));
        }
        let question = words(text(&last["content"]));
        let likeness = |tool: &&Value| {
            let function = &tool["function"];
            words(text(&function["name"]) + " " + &text(&function["description"]))
                .intersection(&question)
                .count()
        };
        match tools.iter().max_by_key(likeness).filter(|tool| likeness(tool) > 0) {
            Some(tool) => Turn::Call {
                tool: tool["function"]["name"].as_str().unwrap_or_default().to_owned(),
                arguments: json!({"question": last["content"]}),
            },
            None => Turn::Answer("I have no tool for that.".to_owned()),
        }
    }
}
